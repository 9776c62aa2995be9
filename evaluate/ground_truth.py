"""Ground truth of a test split: the videos of a manifest matched with the rows of an annotations file."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

from evaluate.annotations import AnnotationFile, Segment, VideoTruth, describe_segments
from extract.display import shortened
from extract.errors import InputError
from extract.labels import NORMAL
from extract.remote.path import AnyPath
from extract.tables import list_folder, path_resolver, stored_path

SIMILARITY = 0.6
"""Least similarity of two stems (0 to 1, difflib's ratio) for one to be named as the nearest of the other."""


class LabelledVideo(Protocol):
    """A row of a manifest."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> AnyPath: ...
    @property
    def labels(self) -> tuple[str, ...]: ...


@dataclass(frozen=True)
class GroundTruth:
    """Ground truth of videos, and sentences on rows of the annotations file that were merged or not used."""

    truths: list[VideoTruth]
    notes: list[str]


def match_annotations(
    videos: Sequence[LabelledVideo],
    annotations: AnnotationFile | None,
    manifest: Sequence[LabelledVideo] = (),
) -> GroundTruth:
    """Ground truth of `videos`; `manifest` are all videos that the file may annotate.

    A normal video has the segments (), an anomalous one without annotations None. Raises ValueError, naming
    file, line and video, if one of `videos` is annotated and normal.
    """
    if annotations is None:
        return GroundTruth([_truth(video, None, None) for video in videos], [])
    resolve = path_resolver()
    paths = [resolve(video.path) for video in videos]
    truths = []
    for path, video in zip(paths, videos, strict=True):
        found, frames = annotations.segments.get(path), annotations.frames.get(path)
        if (found or frames) and NORMAL in video.labels:
            raise InputError(f"{annotations.path}, {_contradiction(video, annotations)}")
        truths.append(_truth(video, found, frames))
    by_path = dict(zip(paths, videos, strict=True))
    if not by_path.keys() >= annotations.first_rows.keys():  # the others are not looked at without need
        by_path = {resolve(video.path): video for video in (*manifest, *videos)}
    notes = (*_merged(annotations, by_path), *_unmatched(annotations, by_path))
    return GroundTruth(truths, [f"{annotations.path.name}: {note}" for note in notes])


def _truth(
    video: LabelledVideo, found: Sequence[Segment] | None, frames: Sequence[Segment] | None
) -> VideoTruth:
    segments = () if NORMAL in video.labels else None if found is None else tuple(found)
    return VideoTruth(video.name, tuple(video.labels), segments, None if frames is None else tuple(frames))


def _contradiction(video: LabelledVideo, annotations: AnnotationFile) -> str:
    path = video.path.resolve()
    line, written = annotations.first_rows[path]
    segments = annotations.segments.get(path) or annotations.frames[path]
    return (
        f"line {line}: {written} is annotated with {describe_segments(segments)}, but the manifest "
        f"labels it {NORMAL!r}; correct the label there, or delete the annotation"
    )


def _merged(annotations: AnnotationFile, by_path: Mapping[AnyPath, LabelledVideo]) -> Iterator[str]:
    for counts, what in (
        (annotations.repeated, "repeated row(s), each counted once"),
        (annotations.overlapping, "row(s) merged with an overlapping one of the same label"),
    ):
        if counts:
            names = [by_path[path].name if path in by_path else path.name for path in counts]
            yield f"{sum(counts.values())} {what} ({shortened(names)})"


def _unmatched(annotations: AnnotationFile, by_path: Mapping[AnyPath, LabelledVideo]) -> Iterator[str]:
    unknown = [path for path in annotations.first_rows if path not in by_path]
    if unknown:
        # A typing error leaves a video of the manifest without annotations: those are compared first.
        bare = [
            path
            for path, video in by_path.items()
            if NORMAL not in video.labels and path not in annotations.first_rows
        ]
        named = (_name_unmatched(path, annotations, (bare, list(by_path))) for path in unknown)
        yield (
            f"{len(unknown)} annotated video(s) are not in the manifest, their rows are not used: "
            f"{shortened(named, len(unknown))}"
        )


def _name_unmatched(
    path: AnyPath, annotations: AnnotationFile, candidates: Sequence[Sequence[AnyPath]]
) -> str:
    line, written = annotations.first_rows[path]
    nearest = next((found for paths in candidates if (found := _nearest(path, paths))), None)
    folder = list_folder(annotations.path)
    hint = f"; nearest in the manifest: {stored_path(folder.resolve(), nearest)}" if nearest else ""
    return f"{written} (line {line}{hint})"


def _nearest(path: AnyPath, candidates: Sequence[AnyPath]) -> AnyPath | None:
    """The path with the same file name, or else with the most similar stem; None if none is similar."""
    same_name = next((candidate for candidate in candidates if candidate.name == path.name), None)
    by_stem = {candidate.stem: candidate for candidate in candidates}
    found = get_close_matches(path.stem, by_stem, n=1, cutoff=SIMILARITY)
    return same_name or (by_stem[found[0]] if found else None)
