"""Manifest and annotations together: repeats, overlaps, rows of unknown videos, contradictions."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from evaluate.annotation_formats import import_xd_violence_annotations
from evaluate.annotations import (
    AnnotationError,
    Segment,
    VideoTruth,
    read_annotation_file,
    read_annotations,
    write_annotations,
)
from evaluate.config import EvaluateConfig
from evaluate.evaluation import evaluate_scores
from evaluate.ground_truth import GroundTruth, match_annotations
from evaluate.report.metrics_file import build_metrics
from tests.evaluate.published import data_folder
from tests.evaluate.videos import small_test_set, write_run

HEADER = "path,label,start_frame,end_frame\n"


class Video(NamedTuple):
    name: str
    path: Path
    labels: tuple[str, ...]


def matched(folder: Path, rows: str, videos: dict[str, str]) -> GroundTruth:
    """Match rows with videos, given as path and label, all in `folder`."""
    (folder / "truth.csv").write_text(HEADER + rows)
    records = [Video(Path(path).stem, folder / path, (label,)) for path, label in videos.items()]
    return match_annotations(records, read_annotation_file(folder / "truth.csv"))


def test_a_repeated_row_counts_once_and_is_noted(tmp_path: Path) -> None:
    rows = "a.mp4,fire,0,60\nb.mp4,riot,5,9\na.mp4,fire,80,90\nsub/../a.mp4,Fire,0,60\na.mp4,riot,0,60\n"
    found = matched(tmp_path, rows, {"a.mp4": "fire", "b.mp4": "riot"})
    assert found.truths[0].segments == (("fire", 0, 60), ("fire", 80, 90), ("riot", 0, 60))
    assert found.notes == ["truth.csv: 1 repeated row(s), each counted once (a)"]


@pytest.mark.parametrize(
    ("pieces", "merged"),
    [
        ([(0, 60), (30, 90)], [(0, 90)]),
        ([(30, 90), (0, 60)], [(0, 90)]),
        ([(0, 100), (20, 30), (90, 110), (109, 120)], [(0, 120)]),
        ([(50, 60), (0, 10), (55, 70), (20, 30)], [(50, 70), (0, 10), (20, 30)]),
        ([(0, 30), (30, 60)], [(0, 30), (30, 60)]),  # two segments that touch share no frame
    ],
)
def test_overlapping_segments_of_one_label_become_one(
    pieces: list[tuple[int, int]], merged: list[tuple[int, int]], tmp_path: Path
) -> None:
    rows = "".join(f"a.mp4,fire,{start},{end}\n" for start, end in pieces)
    found = matched(tmp_path, rows, {"a.mp4": "fire"})
    assert found.truths[0].segments == tuple(Segment("fire", *piece) for piece in merged)
    lost = len(pieces) - len(merged)
    expected = [f"truth.csv: {lost} row(s) merged with an overlapping one of the same label (a)"]
    assert found.notes == (expected if lost else [])


def test_neither_a_repeated_row_nor_a_cut_segment_changes_map(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "scores", small_test_set())
    rows = [(truth.name, segment) for truth in truths for segment in truth.segments or ()]
    cut = [
        (name, Segment(segment.label, *frames))
        for name, segment in rows
        for frames in ((segment.start_frame, segment.start_frame + 20), segment[1:], segment[1:])
    ]
    figures = []
    for written in (rows, cut):
        text = "".join(f"{name}.mp4,{label},{start},{end}\n" for name, (label, start, end) in written)
        (tmp_path / "truth.csv").write_text(HEADER + text)
        records = [Video(truth.name, tmp_path / f"{truth.name}.mp4", truth.labels) for truth in truths]
        found = match_annotations(records, read_annotation_file(tmp_path / "truth.csv"))
        evaluation = evaluate_scores(tmp_path / "scores", found.truths, EvaluateConfig(bootstrap=0))
        figures.append((evaluation.segments, evaluation.digests["truth"]))
    assert figures[0] == figures[1]


def test_xd_violence_keeps_the_overlapping_segments_that_the_published_figures_count(tmp_path: Path) -> None:
    published = import_xd_violence_annotations(data_folder("xd-violence") / "annotations_multiclasses.txt")
    write_annotations(tmp_path / "xd.csv", {tmp_path / f"{name}.mp4": published[name] for name in published})
    read = read_annotations(tmp_path / "xd.csv")
    assert {path.stem: segments for path, segments in read.items()} == published


def test_rows_of_unknown_videos_are_named_with_the_nearest_video(tmp_path: Path) -> None:
    rows = "clips/street.avi,fire,5,9\nother/park.mp4,fire,1,2\nzebra.mp4,fire,1,2\n"
    videos = {"clips/street.mp4": "fire", "clips/street2.mp4": "normal", "clips/park.mp4": "fire"}
    found = matched(tmp_path, rows, videos)
    assert [truth.segments for truth in found.truths] == [None, (), None]
    assert found.notes == [
        "truth.csv: 3 annotated video(s) are not in the manifest, their rows are not used: "
        "clips/street.avi (line 2; nearest in the manifest: clips/street.mp4), "
        "other/park.mp4 (line 3; nearest in the manifest: clips/park.mp4), zebra.mp4 (line 4)"
    ]


def test_ten_unknown_videos_are_named_and_the_rest_counted(tmp_path: Path) -> None:
    rows = "".join(f"v{number}.mp4,fire,0,5\n" for number in range(1000))
    (note,) = matched(tmp_path, rows, {"clip.mp4": "normal"}).notes
    assert "v9.mp4 (line 11) and 990 more" in note
    assert "v10" not in note


def test_an_annotated_normal_video_is_an_error_in_the_words_of_the_files(tmp_path: Path) -> None:
    rows = "\n\nfire.mp4,fire,1,2\nclips/calm.mp4,fire,5,60\nclips/calm.mp4,riot,70,80\n"
    with pytest.raises(ValueError, match=r"line 5: clips/calm\.mp4 is annotated with") as error:
        matched(tmp_path, rows, {"fire.mp4": "fire", "clips/calm.mp4": "normal"})
    message = str(error.value)
    assert "fire in frames 5 to 60, riot in frames 70 to 80" in message
    assert "labels it 'normal'" in message
    assert "Segment" not in message


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"truth\.csv, (row|line) 5: start and end must be whole"):
        matched(tmp_path, "\n\na.mp4,fire,1,2\nb.mp4,fire,x,2\n", {})


def test_a_normal_video_with_segments_is_refused_without_a_repr() -> None:
    with pytest.raises(ValueError, match="a: labelled 'normal', but annotated with fire in frames 5 to 60"):
        VideoTruth("a", ("normal",), (Segment("fire", 5, 60),))
    many = tuple(Segment("fire", 10 * number, 10 * number + 5) for number in range(9))
    with pytest.raises(ValueError, match="20 to 25 and 6 more;"):
        VideoTruth("a", ("normal",), many)
    with pytest.raises(ValueError, match=r"give \(\), not None"):
        VideoTruth("a", ("normal",), None)


def test_without_an_annotations_file_only_normal_videos_have_segments(tmp_path: Path) -> None:
    videos = [Video("a", tmp_path / "a.mp4", ("fire",)), Video("b", tmp_path / "b.mp4", ("normal",))]
    assert match_annotations(videos, None).truths == [
        VideoTruth("a", ("fire",), None),
        VideoTruth("b", ("normal",), ()),
    ]


USES = HEADER.replace("\n", ",used_for\n")


def used_for_truth(folder: Path, rows: str) -> VideoTruth:
    (folder / "truth.csv").write_text(USES + rows)
    video = Video("a", folder / "a.mp4", ("fire",))
    (truth,) = match_annotations([video], read_annotation_file(folder / "truth.csv")).truths
    return truth


def test_frames_and_segments_can_have_a_ground_truth_each(tmp_path: Path) -> None:
    truth = used_for_truth(tmp_path, "a.mp4,fire,0,4,\na.mp4,fire,6,40,Frames\na.mp4,fire,5,9,segments\n")
    assert truth.segments == (("fire", 0, 4), ("fire", 5, 9))
    assert truth.frames == (("fire", 0, 4), ("fire", 6, 40))
    # What exceeds the video is cut from a published ground truth; frames 4 and 5 are normal.
    assert truth.frame_labels(8).tolist() == [True] * 4 + [False] * 2 + [True] * 2
    assert truth.class_labels("fire", 8).tolist() == [True] * 4 + [False] + [True] * 3


def test_annotations_for_frames_alone_give_no_segments(tmp_path: Path) -> None:
    truth = used_for_truth(tmp_path, "a.mp4,fire,2,4,frames\n")
    assert (truth.segments, truth.frames) == (None, (("fire", 2, 4),))
    truth = used_for_truth(tmp_path, "a.mp4,fire,90,95,segments\n")
    assert (truth.segments, truth.frames) == ((("fire", 90, 95),), ())
    assert not truth.frame_labels(8).any()
    with pytest.raises(AnnotationError, match="line 2: used_for is 'both', expected frames, segments or"):
        used_for_truth(tmp_path, "a.mp4,fire,2,4,both\n")


def test_map_is_missing_with_a_reason_where_only_frames_are_annotated(tmp_path: Path) -> None:
    truths = write_run(tmp_path / "scores", small_test_set())
    config = EvaluateConfig(bootstrap=0)
    whole = evaluate_scores(tmp_path / "scores", truths, config)
    frames_only = [t if t.is_normal else replace(t, segments=None, frames=t.segments) for t in truths]
    evaluation = evaluate_scores(tmp_path / "scores", frames_only, config)
    assert evaluation.frame == whole.frame
    assert evaluation.segments == {}
    assert evaluation.digests["truth"] != whole.digests["truth"]
    metrics = build_metrics(evaluation, title="frames only")
    assert "have no classes, first:" in metrics["missing"]["map"]
    assert set(metrics["missing"]) == {"map"}


def test_written_annotations_are_read_back(tmp_path: Path) -> None:
    segments, frames = [Segment("fire", 0, 4)], [Segment("fire", 1, 3), Segment("fire", 5, 6)]
    a, b = tmp_path / "a.mp4", tmp_path / "b.mp4"
    write_annotations(tmp_path / "t.csv", {a: segments, b: segments}, {b: frames})
    read = read_annotation_file(tmp_path / "t.csv")
    assert read.segments == {a: segments, b: segments}
    assert read.frames == {b: frames}
    write_annotations(tmp_path / "t.csv", {a: segments})
    assert (tmp_path / "t.csv").read_text() == HEADER + "a.mp4,fire,0,4\n"
