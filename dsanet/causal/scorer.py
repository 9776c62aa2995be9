"""Causal scores: what a detector says of a snippet when it arrives, without the snippets after it.

Offline inference (`dsanet.inference`) cuts a video into windows of 256 snippets and scores each snippet with
the whole window around it: the first snippets of a window see minutes of future, the last ones only the past,
and a snippet after the border of two windows sees nothing before it. A camera has no future. The causal score
of a snippet is the detector's output at the last position of the window that ends with it, that is of the
last 256 snippets (`window_rows` of the checkpoint), or of all of them at the start of a stream, padded as
offline inference pads the last window of a video.

What that changes:

- A detector that scores single snippets (mil-ranking): nothing.
- All others: every score. An anomaly is seen from its beginning only, so its first snippets usually score
  lower than offline, and alarms come later. Training saw whole videos; the last position of a window was one
  of many. The last snippet of a video of at most 256 snippets, and of each full window of a longer one, has
  the same score as offline.
- Class distributions: the visual cue of vadclip and dsanet, and the video context of vla-gated, come from the
  snippets so far.
- CLIP-TSA selects a part of the window; a snippet is weighted by how often it is selected, and the noise
  samples that decide it are always those of the last position.
- The event and background prototypes of a score file are means over all windows; `learned_TD` and
  `normal_distance_T` are those of each snippet's own window.

On a CPU windows are computed one by one. So scores are equal to the last bit however the snippets arrive, one
at a time or in bursts, and whichever other cameras share a call. On a GPU `infer.batch_size` windows are
computed at once, of all cameras of a call; their scores differ by less than 1e-5 between batches.

S new snippets, K crops, D width, T snippets of a window, E values per snippet.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dsanet.causal.windows import windows_of
from dsanet.checkpoint import Checkpoint
from dsanet.detectors.config import InferConfig
from dsanet.layers.transfer import to_device
from dsanet.snippet_scores import ArrayScores, checked_features, chosen_crops, video_scores
from evaluate.scores import VideoScores
from extract.errors import InputError
from extract.store import VideoFeatures

Values = dict[str, np.ndarray]
"""Arrays by the names of `Detector.scores`."""


@dataclass(frozen=True, eq=False)
class CausalStream:
    """The state of one camera: its last snippets. Made by `CausalScorer.stream`."""

    crops: int
    """Crops of each snippet's features."""
    chosen: Sequence[int]
    """The crops that are scored."""
    state: Any = field(repr=False)


@dataclass(frozen=True)
class _Job:
    """One window to compute: the newest snippet of an arrival, in one crop."""

    values: list[Values]
    """The list that the window's values are appended to, in the order of arrival."""
    window_TE: Tensor


class CausalScorer:
    """Scores snippets as they arrive, of any number of cameras, or those of a recorded video.

    Not for several threads at once. An exception in `push` for other reasons than its arguments (no memory)
    leaves the cameras of the call with a part of their new snippets: start them again.

    Args:
        checkpoint: The result of `load_checkpoint`.
        config: Settings of the inference; default: those stored in the checkpoint.
        reuse: Leave out work that neighbouring windows share and work that the newest snippet does not depend
            on (`dsanet.causal.windows`); the scores differ by less than 1e-5.

    Examples:
        >>> import numpy as np
        >>> from dsanet import CausalScorer, load_checkpoint
        >>> scorer = CausalScorer(load_checkpoint("ws/model"))
        >>> camera = scorer.stream()
        >>> [scores] = scorer.push([(camera, np.zeros((1, 512)))])  # one new snippet of one camera
        >>> scores.anomaly_T.shape
        (1,)
    """

    def __init__(
        self, checkpoint: Checkpoint, config: InferConfig | None = None, *, reuse: bool = True
    ) -> None:
        self.model = checkpoint.model
        self.classes = checkpoint.info.model.classes
        self.config = config or checkpoint.info.infer
        with torch.inference_mode():
            self.windows = windows_of(self.model, self.model.text_embeddings(), reuse=reuse)
        self._batch_size = 1 if self.windows.device.type == "cpu" else self.config.batch_size

    def stream(self, crops: int = 1) -> CausalStream:
        """A camera without snippets yet. Raises InputError if it lacks the crop of the settings."""
        chosen = chosen_crops(self.config.crop, crops, "the stream")
        return CausalStream(crops, chosen, self.windows.start(len(chosen)))

    def push(self, arrivals: Sequence[tuple[CausalStream, npt.ArrayLike]]) -> list[ArrayScores]:
        """Scores of the new snippets of some cameras, for each arrival in the order of its snippets.

        Args:
            arrivals: Cameras with the features of their new snippets, (S, 512) or (S, crops, 512), oldest
                first. A camera may occur again; its arrivals are then in time order.

        Raises:
            InputError: Features of another shape, empty, or not finite; no camera has changed then.
        """
        return [ArrayScores(values["anomaly"], values.get("classes")) for values in self._push(arrivals)]

    def score(self, videos: Iterable[VideoFeatures]) -> Iterator[VideoScores]:
        """Causal scores of recorded videos, in order. Raises InputError for a crop that a video lacks."""
        for video in videos:
            chosen = chosen_crops(self.config.crop, video.features.shape[1], video.name)
            stream = CausalStream(video.features.shape[1], chosen, self.windows.start(len(chosen)))
            [values] = self._push([(stream, video.features)])
            yield video_scores(video, values, self.classes)

    def score_array(self, features: npt.ArrayLike) -> ArrayScores:
        """Causal scores of a recorded video's features, (T, 512) or (T, crops, 512).

        Equal to `push` of its snippets in any pieces. The windows of a batch are in memory at once, not those
        of the video. Raises InputError as `push` does.
        """
        array = checked_features(features, self.model.config.feature_dim)
        return self.push([(self.stream(array.shape[1]), array)])[0]

    @torch.inference_mode()
    def _push(self, arrivals: Sequence[tuple[CausalStream, npt.ArrayLike]]) -> list[Values]:
        checked = [(stream, self._checked(stream, features)) for stream, features in arrivals]
        found: list[list[Values]] = [[] for _ in checked]
        jobs: list[_Job] = []
        for (stream, features_SKD), values in zip(checked, found, strict=True):
            for window_TE in self._new_windows(stream, features_SKD):
                jobs.append(_Job(values, window_TE))
                if len(jobs) == self._batch_size:
                    self._compute(jobs)
                    jobs = []
        if jobs:
            self._compute(jobs)
        return [
            _joined(values, len(stream.chosen)) for (stream, _), values in zip(checked, found, strict=True)
        ]

    def _checked(self, stream: CausalStream, features: npt.ArrayLike) -> np.ndarray:
        array = checked_features(features, self.model.config.feature_dim)
        if array.shape[1] != stream.crops:
            raise InputError(f"features have {array.shape[1]} crops, those of the stream have {stream.crops}")
        return array

    def _new_windows(self, stream: CausalStream, features_SKD: np.ndarray) -> Iterator[Tensor]:
        """The window of each new snippet, crop by crop: copies, for they wait until their batch is full."""
        for feature_KD in torch.from_numpy(features_SKD[:, list(stream.chosen)]):
            self.windows.append(stream.state, to_device(feature_KD, self.windows.device))
            yield from self.windows.window(stream.state).transpose(0, 1).clone()

    def _compute(self, jobs: Sequence[_Job]) -> None:
        lengths = [len(job.window_TE) for job in jobs]
        rows = self.windows.padded_length or max(lengths)
        windows_BTE = jobs[0].window_TE.new_zeros(len(jobs), rows, jobs[0].window_TE.shape[1])
        for window_TE, job in zip(windows_BTE, jobs, strict=True):
            window_TE[: len(job.window_TE)] = job.window_TE
        output, valid_B = self.windows.output(windows_BTE, torch.tensor(lengths))
        arrays = self.model.scores(output, valid_B, self.config)
        newest = {
            name: array[torch.arange(len(jobs)), valid_B - 1].float().cpu().numpy()
            for name, array in arrays.items()
        }
        for b, job in enumerate(jobs):
            job.values.append({name: array[b] for name, array in newest.items()})


def _joined(values: Sequence[Values], crops: int) -> Values:
    """(S, …) by name from the values of each snippet's crops: their means."""
    stacked = {name: np.stack([one[name] for one in values]) for name in values[0]}
    return {name: array.reshape(-1, crops, *array.shape[1:]).mean(axis=1) for name, array in stacked.items()}
