"""How features were made: pairs arrays with videos, finds the recipe, compares along every array.

A few rows decide on the recipe; rows spread over every array then say whether all of it was made so. Rows
that were not are searched again: another recipe, or the same at other frames.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from extract.config import ExtractConfig
from extract.decode.packets import VideoError
from extract.encoder import load_encoder
from extract.errors import InputError
from extract.match.arrays import FeatureArray, Pairing, pair_with_videos, read_arrays
from extract.match.breaks import Run, runs_of, shift_after, unlike_rows
from extract.match.comparison import BAD_LOSS, USUAL_TIMING, Comparison, LoadEncoder, Sample
from extract.match.footage import Footage
from extract.match.lengths import Assumption, assumptions, padded_rows
from extract.match.recipes import changed, same_frame
from extract.match.result import ArrayMatch, MatchResult, Part
from extract.match.rows import part_of, spread_rows
from extract.match.search import EXACT_LOSS, Found, Probe, find_crop, find_recipe, probe_rows
from extract.snippets import pick_frames

CPU_IMAGES = 240
"""Pictures embedded for the comparison along all arrays, unless the number of rows is given."""
LEAST_ROWS, MOST_ROWS = 8, 48
_MOST_SEARCHES = 2
"""Searches for the recipes of parts that the first one does not make."""
_ABOUT_ONE = 0.02
_FEW_ARRAYS = 3
"""Arrays whose last rows tell which frame of a shorter snippet is taken."""
_FEW_ROWS = 3
"""Rows that another recipe must have for a search of their own."""

OnProgress = Callable[[str, int], None]
"""(what is done at the moment, number of pictures embedded so far)"""


def match_features(
    features: Path,
    videos: Sequence[Path],
    *,
    weights: Sequence[str] = ("openai",),
    device: str = "auto",
    rows: int | None = None,
    on_progress: OnProgress = lambda what, images: None,
    load: LoadEncoder | None = None,
) -> MatchResult:
    """Find the settings of `extract` that make these features of these videos.

    Args:
        features: A folder of `<video>__<crop>.npy` or of feature files, or one such file.
        videos: Video files, and folders that are searched for them.
        weights: CLIP weights to try, as in `ExtractConfig.weights`.
        device: As in `load_encoder`.
        rows: Rows of each array that are compared after the search, 0 for all. By default all on a GPU, and
            on a CPU as many as take about a minute.
        on_progress: Called after every batch of pictures.
        load: Loads the encoder of (weights, precision); by default `load_encoder` on the device.

    Raises:
        FileNotFoundError: Features, videos or weights are missing.
        InputError: No video has the name of an array, an array has another shape, or no video can be decoded.
    """
    pairing = pair_with_videos(features, videos)
    paths = {path.stem: path for path in pairing.pairs}
    state = {"what": "reading"}
    with Footage(paths) as footage:
        arrays, failures = _read(pairing, footage)
        loader = load or (lambda name, precision: load_encoder(name, device, precision))
        comparison = Comparison(footage, loader, lambda images: on_progress(state["what"], images))
        matcher = _Matcher(comparison, arrays, list(weights), rows, state)
        return MatchResult(*matcher.match(), pairing, failures)


def _read(pairing: Pairing, footage: Footage) -> tuple[list[FeatureArray], dict[str, str]]:
    """The arrays of all videos that can be opened, and the reasons why others cannot."""
    arrays: list[FeatureArray] = []
    failures = {}
    for path, files in pairing.pairs.items():
        of_video = read_arrays(files, path.stem)
        try:
            footage.facts(path.stem)
            arrays += of_video
        except VideoError as error:
            failures[path.stem] = str(error)
    if not arrays:
        name, reason = next(iter(failures.items()))
        raise InputError(f"none of the videos can be decoded, first: {name}: {reason}")
    return arrays, failures


class _Matcher:
    """One call of `match_features`, after everything was read."""

    def __init__(
        self,
        comparison: Comparison,
        arrays: list[FeatureArray],
        weights: list[str],
        rows: int | None,
        state: dict[str, str],
    ) -> None:
        self._comparison = comparison
        self._arrays = arrays
        self._weights = weights
        self._rows = rows
        self._state = state
        self._padded = {id(array): _padding(array, comparison) for array in arrays}
        self._recipes: list[Found] = []
        self._searches = 0

    def match(self) -> tuple[list[Found], list[ArrayMatch]]:
        """The recipes, and every array compared with the first of them."""
        by_crop: dict[int, list[FeatureArray]] = {}
        for array in self._arrays:
            by_crop.setdefault(array.crop or 0, []).append(array)
        groups = list(by_crop.values())
        self._state["what"] = "recipe"
        found = self._first_recipe(groups[0])
        config = self._keeping_last(found.config)
        self._recipes = [replace(found, config=config)]
        matches = []
        for group in groups:
            self._state["what"] = "recipe"
            of_group = config
            if group is not groups[0]:
                of_group = find_crop(self._comparison, config, self._probe(group))
            self._state["what"] = "along the videos"
            matches += [self._along(array, of_group) for array in group]
        return self._recipes, sorted(matches, key=lambda one: (one.array.video, one.array.crop or 0))

    def _first_recipe(self, arrays: Sequence[FeatureArray]) -> Found:
        """The best recipe of the first assumption about the lengths that gives an exact one, else of all."""
        results = []
        for assumed in self._assumptions():
            self._comparison.timing = assumed.timing
            start = changed(ExtractConfig(), snippet_length=assumed.length, normalise=self._normalised())
            probe = self._probe(arrays, assumed.rows)
            results.append((find_recipe(self._comparison, probe, start, self._weights), assumed))
            if results[-1][0].loss < EXACT_LOSS:
                break
        found, assumed = min(results, key=lambda result: result[0].loss)
        self._comparison.timing = assumed.timing
        return found

    def _assumptions(self) -> list[Assumption]:
        facts = {array.video: self._comparison.footage.facts(array.video) for array in self._arrays}
        sizes = {
            a.video: (self._length(a), facts[a.video].n_frames, facts[a.video].fps) for a in self._arrays
        }
        return assumptions(sizes)

    def _normalised(self) -> bool:
        lengths = np.concatenate([np.linalg.norm(array.rows_TD, axis=1) for array in self._arrays])
        return bool(abs(np.median(lengths) - 1) < _ABOUT_ONE)

    def _probe(self, arrays: Sequence[FeatureArray], part: tuple[float, float] = (0, 1)) -> Probe:
        return probe_rows(arrays, [part_of(self._length(array), part) for array in arrays])

    def _length(self, array: FeatureArray) -> int:
        """The number of rows without the padding."""
        return len(array.rows_TD) - self._padded[id(array)]

    def _keeping_last(self, config: ExtractConfig) -> ExtractConfig:
        """The recipe without a last, shorter snippet where every array that could have one lacks it."""
        shorter = changed(config, keep_last=False)
        snippets = self._comparison.snippets
        telling = [
            self._length(array) - snippets(shorter, array.video)
            for array in self._arrays
            if snippets(config, array.video) > snippets(shorter, array.video)
        ]
        return shorter if telling and not any(telling) else self._anchored(config)

    def _anchored(self, config: ExtractConfig) -> ExtractConfig:
        """The recipe that takes the same frame of whole snippets, and the right one of last, shorter ones.

        The middle frame, for example, is an earlier one there; frame 8 is not.
        """
        samples = [
            Sample(array, rows - 1)
            for array in self._arrays[:_FEW_ARRAYS]
            if (rows := self._length(array)) == self._comparison.snippets(config, array.video)
        ]
        same = same_frame(config)
        return self._comparison.rank([config, *same], samples)[0].config if samples and same else config

    def _along(self, array: FeatureArray, config: ExtractConfig) -> ArrayMatch:
        rows = spread_rows(self._length(array), self._rows_each(config))
        losses = self._comparison.losses(config, [Sample(array, row) for row in rows])
        facts = self._comparison.footage.facts(array.video)
        return ArrayMatch(
            array,
            config,
            facts.n_frames,
            facts.fps,
            rows,
            1 - losses,
            self._parts(array, config, rows, losses),
            self._padded[id(array)],
            self._comparison.timing.get(array.video, USUAL_TIMING),
        )

    def _rows_each(self, config: ExtractConfig) -> int:
        longest = max(len(array.rows_TD) for array in self._arrays)
        on_gpu = self._comparison.encoder(config).device.type == "cuda"
        if self._rows == 0 or (self._rows is None and on_gpu):
            return longest
        if self._rows is not None:
            return self._rows
        frames = len(pick_frames(config.snippet_length, config.sampling).frames)
        return int(np.clip(CPU_IMAGES // (len(self._arrays) * frames), LEAST_ROWS, MOST_ROWS))

    def _parts(
        self, array: FeatureArray, config: ExtractConfig, rows: list[int], losses: npt.NDArray[np.float64]
    ) -> list[Part]:
        bad = unlike_rows(losses)
        limit = _limit(losses, bad)

        def is_bad(row: int) -> bool:
            return bool(self._comparison.losses(config, [Sample(array, row)])[0] > limit)

        good_loss = float(np.median(losses[~bad])) if (~bad).any() else BAD_LOSS
        parts = []
        for run in runs_of(rows, bad, self._length(array), is_bad):
            inside = [
                row for row, wrong in zip(rows, bad, strict=True) if wrong and run.first <= row < run.stop
            ]
            known = range(run.first, run.stop) if len(inside) < _FEW_ROWS or not run.mixed else inside
            parts.append(
                Part(run.first, run.stop, 0)
                if run.good
                else self._explained(array, config, run, known, good_loss)
            )
        return parts

    def _explained(
        self, array: FeatureArray, config: ExtractConfig, run: Run, rows: Sequence[int], good_loss: float
    ) -> Part:
        """The rows of a bad run: the same recipe at other frames, another recipe, or neither."""
        if len(rows) < _FEW_ROWS:
            return Part(run.first, run.stop, None)
        if good_loss < BAD_LOSS and not run.mixed:
            shift = shift_after(self._comparison, config, array, rows, good_loss)
            if shift is not None:
                return Part(run.first, run.stop, 0, shift)
        return Part(run.first, run.stop, self._other_recipe(array, config, rows), mixed=run.mixed)

    def _other_recipe(self, array: FeatureArray, config: ExtractConfig, rows: Sequence[int]) -> int | None:
        """Index of a recipe that makes these rows: one that is known, or the result of a new search."""
        probe = probe_rows([array], [rows])
        samples = [*probe.calm, *probe.lively]
        here = float(np.median(self._comparison.losses(config, samples)))
        for number, found in enumerate(self._recipes[1:], start=1):
            if self._makes(find_crop(self._comparison, found.config, probe), samples, here):
                return number
        if self._searches >= _MOST_SEARCHES:
            return None
        self._searches += 1
        start = changed(config, crop=0, keep_last=True)
        found = find_recipe(self._comparison, probe, start, self._weights)
        if not self._makes(found.config, samples, here):
            return None
        self._recipes.append(found)
        return len(self._recipes) - 1

    def _makes(self, config: ExtractConfig, samples: Sequence[Sample], loss_before: float) -> bool:
        losses = self._comparison.losses(config, samples)
        return bool((losses <= BAD_LOSS).all() and np.median(losses) <= loss_before / 10)


def _padding(array: FeatureArray, comparison: Comparison) -> int:
    """Rows that pad an array, at its end; repeated rows count only beyond the end of the video."""
    padded = padded_rows(array.rows_TD)
    zero = int((array.rows_TD[len(array.rows_TD) - padded :] == 0).all(1).sum())
    beyond = len(array.rows_TD) - -(-comparison.footage.facts(array.video).n_frames // 16)
    return max(zero, padded if beyond > 0 else 0)


def _limit(losses: npt.NDArray[np.float64], bad: npt.NDArray[np.bool_]) -> float:
    """The loss between those of good and bad rows."""
    if bad.all() or not bad.any():
        return BAD_LOSS
    best_bad, worst_good = losses[bad].min(), losses[~bad].max()
    return float(np.sqrt(max(best_bad, 1e-9) * max(worst_good, 1e-9)))
