"""The annotations file beside a manifest, `M.annotations.csv`, written from imported annotations."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluate.annotation_formats import ImportedAnnotations
from evaluate.annotations import (
    MAX_OVERRUN,
    Segment,
    cut_segments,
    frame_labels,
    read_annotation_file,
    write_annotations,
)
from extract.display import shortened
from extract.labels import NORMAL
from extract.remote.path import AnyPath

log = logging.getLogger(__name__)

Segments = Sequence[Segment]


@dataclass(frozen=True)
class MeasuredVideo:
    """A video of the manifest with its length, which some annotations need."""

    name: str
    path: AnyPath
    labels: tuple[str, ...]
    n_frames: int | None = None
    """None where it is not known."""


def add_annotations(manifest: Path, videos: Sequence[MeasuredVideo], found: ImportedAnnotations) -> Path:
    """Write the annotations of `videos` beside the manifest; those of other videos there are kept.

    Features cover whole snippets. As in the published ground truths, frames beyond the last snippet are cut,
    while the segments of mAP keep their ends: such a video gets rows for each. Anomalous videos without
    annotations, and annotations far beyond a video, are logged. Returns the path of the file.
    """
    path = manifest.with_suffix(".annotations.csv")
    segments, frames = _kept(path, {video.path.resolve() for video in videos})
    for video in videos:
        of_segments, of_frames = _ground_truths(video, found)
        if of_segments or of_frames is not None:
            segments[video.path] = of_segments
        if of_frames is not None:
            frames[video.path] = of_frames
    write_annotations(path, segments, frames)
    _warn(videos, found)
    return path


def _kept(
    path: Path, replaced: set[AnyPath]
) -> tuple[dict[AnyPath | str, Segments], dict[AnyPath | str, Segments]]:
    """Segments, and frames of their own, of the file's other videos."""
    if not path.is_file():
        return {}, {}
    earlier = read_annotation_file(path)
    videos = [video for video in earlier.first_rows if video not in replaced]
    return (
        {video: earlier.segments.get(video, []) for video in videos},
        {video: earlier.frames[video] for video in videos if video in earlier.frames},
    )


def _ground_truths(video: MeasuredVideo, found: ImportedAnnotations) -> tuple[Segments, Segments | None]:
    """The video's segments, and the segments that define its frame labels if these are others."""
    segments = found.segments.get(video.name, [])
    frames = found.frames.get(video.name)
    if frames is None and _fits(segments, video.n_frames):
        return segments, None
    frames = segments if frames is None else frames
    same = _fits(segments, video.n_frames) and _same_frames(segments, frames, video.n_frames)
    return segments, None if same else frames


def _fits(segments: Iterable[Segment], n_frames: int | None) -> bool:
    """True if an evaluation accepts the segments as they are."""
    return n_frames is None or all(
        segment.start_frame < n_frames and segment.end_frame <= n_frames + MAX_OVERRUN for segment in segments
    )


def _same_frames(segments: Segments, frames: Segments, n_frames: int | None) -> bool:
    ends = [segment.end_frame for segment in (*segments, *frames)]
    length = max(ends, default=0) if n_frames is None else n_frames
    first, second = (frame_labels(cut_segments(one, length), length) for one in (segments, frames))
    return bool((first == second).all())


def _warn(videos: Sequence[MeasuredVideo], found: ImportedAnnotations) -> None:
    beyond, bare = [], []
    for video in videos:
        segments = [*found.segments.get(video.name, []), *found.frames.get(video.name, [])]
        end = max((segment.end_frame for segment in segments), default=0)
        if video.n_frames is not None and end > video.n_frames + 2 * MAX_OVERRUN:
            beyond.append(f"{video.name} (to frame {end:,} of {video.n_frames:,})")
        if not segments and NORMAL not in video.labels:
            bare.append(video.name)
    if beyond:
        log.warning(
            "%d videos are annotated beyond their end, which is cut: %s", len(beyond), shortened(beyond)
        )
    if bare:
        log.warning("%d anomalous videos have no annotations: %s", len(bare), shortened(bare))
