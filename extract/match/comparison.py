"""Losses of recipes: one minus the cosine between rows of arrays and those that a recipe makes.

Every picture is embedded once, whatever the number of recipes that need it. Shape suffix: S samples.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from extract.config import FEATURE_DIM, ExtractConfig
from extract.encoder import Encoder
from extract.match.arrays import FeatureArray
from extract.match.footage import Footage, Picture
from extract.preprocess import crop_place
from extract.snippets import pick_frames
from extract.views import Views

Losses = npt.NDArray[np.float64]
LoadEncoder = Callable[[str, str], Encoder]
"""Loads the encoder of (weights, precision)."""
_IMAGES_AT_ONCE = 8
BAD_LOSS = 0.01
"""A cosine of 0.99: below it two features are not the same picture."""
ROUNDING = 3e-6
"""Losses below are rounding to float16."""
TIE = 0.05
"""Scores (decades of loss) that differ by less are equal: the earlier recipe of a list is taken."""


class Sample(NamedTuple):
    """One row of an array."""

    array: FeatureArray
    row: int


class Source(NamedTuple):
    """An encoder and a video."""

    weights: str
    precision: str
    video: str


class Ranked(NamedTuple):
    """A recipe with its score, the mean of log10(loss), and its mean loss."""

    score: float
    loss: float
    config: ExtractConfig


@dataclass(frozen=True)
class Timing:
    """Where the frames of a snippet lie in the video: at `frame * stretch + shift`."""

    stretch: float = 1.0
    shift: int = 0


USUAL_TIMING = Timing()


class Comparison:
    """Compares recipes with rows of arrays. `timing` holds what is known of single videos."""

    def __init__(self, footage: Footage, load: LoadEncoder, on_embedded: Callable[[int], None]) -> None:
        self.footage = footage
        self.timing: dict[str, Timing] = {}
        self._load = load
        self._on_embedded = on_embedded
        self._encoders: dict[tuple[str, str], Encoder] = {}
        self._known: dict[tuple[Source, int, Views], npt.NDArray[np.float32]] = {}
        self._embedded = 0

    def rank(self, configs: Iterable[ExtractConfig], samples: Sequence[Sample]) -> list[Ranked]:
        """Recipes by score, best first; recipes of practically the same score in their order."""
        unique = list(dict.fromkeys(configs))
        self.embed((config, sample) for config in unique for sample in samples)
        scored = []
        for config in unique:
            losses = self.losses(config, samples)
            scored.append(Ranked(float(np.log10(losses + ROUNDING).mean()), float(losses.mean()), config))
        best = min(ranked.score for ranked in scored)
        return sorted(scored, key=lambda ranked: ranked.score if ranked.score > best + TIE else best)

    def losses(
        self, config: ExtractConfig, samples: Sequence[Sample], timing: Timing | None = None
    ) -> Losses:
        """(S,) one minus the cosine of each row."""
        self.embed(((config, sample) for sample in samples), timing)
        return np.array([self._loss(config, sample, timing) for sample in samples])

    def embed(self, wanted: Iterable[tuple[ExtractConfig, Sample]], timing: Timing | None = None) -> None:
        """Embed all pictures that the recipes need for these rows and that are not known."""
        needed: dict[Source, dict[int, dict[Views, None]]] = {}
        for config, sample in wanted:
            for frame in self._frames(config, sample, timing):
                key = Source(config.weights, config.precision, sample.array.video)
                if (key, frame, config.views) not in self._known:
                    needed.setdefault(key, {}).setdefault(frame, {})[config.views] = None
        for key, views_of_frame in needed.items():
            self._embed_video(key, views_of_frame)

    def knows(self, config: ExtractConfig, samples: Iterable[Sample]) -> bool:
        """True if all pictures that the recipe needs for these rows are embedded."""
        return all(
            (Source(config.weights, config.precision, sample.array.video), frame, config.views) in self._known
            for sample in samples
            for frame in self._frames(config, sample, None)
        )

    def encoder(self, config: ExtractConfig) -> Encoder:
        """The encoder of a recipe, loaded once."""
        return self._encoder(config.weights, config.precision)

    def _encoder(self, weights: str, precision: str) -> Encoder:
        key = (weights, precision)
        if key not in self._encoders:
            self._encoders[key] = self._load(*key)
        return self._encoders[key]

    def snippets(self, config: ExtractConfig, video: str) -> int:
        """The number of snippets that the recipe makes of the video."""
        return pick_frames(self._virtual_frames(video, None), config.sampling).n_snippets

    def _loss(self, config: ExtractConfig, sample: Sample, timing: Timing | None) -> float:
        frames = self._frames(config, sample, timing)
        key = Source(config.weights, config.precision, sample.array.video)
        made = np.mean([self._known[key, frame, config.views] for frame in frames], axis=0, dtype=np.float64)
        given = sample.array.rows_TD[sample.row].astype(np.float64)
        lengths = np.linalg.norm(made) * np.linalg.norm(given)
        return float(1 - made @ given / lengths) if lengths else 1.0

    def _frames(self, config: ExtractConfig, sample: Sample, timing: Timing | None) -> list[int]:
        video = sample.array.video
        used = timing or self.timing.get(video, USUAL_TIMING)
        sampling, length = config.sampling, config.snippet_length
        # The snippet alone, at its place: a video of an hour has thousands.
        start = sample.row * length
        n_frames = self._virtual_frames(video, timing)
        alone = pick_frames(
            max(1, min(length, n_frames - start)), replace(sampling, offset=0, keep_last=True)
        )
        frames = alone.frames + start + sampling.offset
        last = self.footage.facts(video).n_frames - 1
        moved = np.round(frames * used.stretch).astype(int) + used.shift
        return [int(frame) for frame in np.clip(moved, 0, last)]

    def _virtual_frames(self, video: str, timing: Timing | None) -> int:
        used = timing or self.timing.get(video, USUAL_TIMING)
        return max(1, round(self.footage.facts(video).n_frames / used.stretch))

    def _embed_video(self, key: Source, views_of_frame: Mapping[int, Mapping[Views, None]]) -> None:
        encoder = self._encoder(key.weights, key.precision)
        pending: dict[tuple[tuple[int, ...], Views], list[tuple[int, Picture]]] = {}
        for frame, picture in self.footage.pictures(key.video, views_of_frame):
            for merged in _merged(views_of_frame[frame], picture):
                group = pending.setdefault((picture.shape, merged), [])
                group.append((frame, picture))
                if len(group) * len(merged.crops) >= max(_IMAGES_AT_ONCE, encoder.batch_size):
                    self._encode(encoder, key, merged, pending.pop((picture.shape, merged)))
        for (_, merged), group in pending.items():
            self._encode(encoder, key, merged, group)

    def _encode(
        self, encoder: Encoder, key: Source, views: Views, group: Sequence[tuple[int, Picture]]
    ) -> None:
        pictures = np.stack([picture for _, picture in group])
        vectors = encoder.encode(pictures, views).cpu().numpy().reshape(-1, len(views.crops), FEATURE_DIM)
        self._embedded += len(vectors) * len(views.crops)
        self._on_embedded(self._embedded)
        for (frame, picture), of_crops in zip(group, vectors, strict=True):
            places = _places(views, picture)
            for number in range(10):
                place = crop_place(picture.shape[0], picture.shape[1], views.resize, number)
                if place in places:
                    single = replace(views, crops=(number,))
                    self._known[key, frame, single] = of_crops[places.index(place)]


def _merged(views: Iterable[Views], picture: Picture) -> list[Views]:
    """Views of one frame together where only the crop differs, each place of the picture once."""
    crops: dict[Views, dict[tuple[int, int, bool], int]] = {}
    for view in views:
        place = _places(view, picture)[0]
        crops.setdefault(replace(view, crops=()), {}).setdefault(place, view.crops[0])
    return [replace(view, crops=tuple(sorted(numbers.values()))) for view, numbers in crops.items()]


def _places(views: Views, picture: Picture) -> list[tuple[int, int, bool]]:
    height, width = picture.shape[:2]
    return [crop_place(height, width, views.resize, number) for number in views.crops]
