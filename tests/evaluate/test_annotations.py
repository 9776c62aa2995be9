"""Annotations: the project's CSV, the files of both data sets against their ground truths, frame labels."""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluate.annotation_formats import (
    import_annotations,
    import_ucf_crime_annotations,
    import_xd_violence_annotations,
    import_xd_violence_frames,
)
from evaluate.annotations import (
    AnnotationError,
    Segment,
    VideoTruth,
    frame_labels,
    read_annotations,
    write_annotations,
    xd_violence_codes,
)
from extract.errors import InputError
from extract.labels import UCF_CRIME_CLASSES, XD_VIOLENCE_CODES
from tests.evaluate.published import data_folder, frame_truth, ucf_crime, ucf_frame_counts, xd_violence


def test_relative_paths_resolve_against_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_annotations(Path("sub/truth.csv"), {Path("sub/videos/a.mp4"): [Segment("fire", 1, 2)]})
    assert list(read_annotations(tmp_path / "sub" / "truth.csv")) == [tmp_path / "sub" / "videos" / "a.mp4"]


def test_csv_round_trip_with_relative_and_absolute_paths(tmp_path: Path) -> None:
    inside, outside = tmp_path / "set" / "videos" / "a, b.mp4", tmp_path / "elsewhere" / "c.mp4"
    annotations = {
        inside: [Segment("riot", 0, 30), Segment("fire", 20, 90)],
        outside: [Segment("car accident", 5, 6)],
    }
    path = tmp_path / "set" / "annotations.csv"
    write_annotations(path, annotations)
    assert "\nvideos/a, b.mp4" in path.read_text().replace('"', "")
    assert read_annotations(path) == annotations


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.mp4,riot,x,9", "line 3: start and end must be whole frame numbers"),
        ("a.mp4,riot,9,9", "line 3: 0 <= start < end"),
        ("a.mp4,riot,-1,9", "line 3: 0 <= start < end"),
        ("a.mp4,,1,9", "line 3: the label must be the name"),
        ("a.mp4,normal,1,9", "line 3: the label must be the name"),
        (",riot,1,9", "line 3: empty path"),
        ("a.mp4,riot", "line 3: expected 4 values"),
    ],
)
def test_errors_name_the_row(tmp_path: Path, row: str, message: str) -> None:
    path = tmp_path / "annotations.csv"
    path.write_text(f"path,label,start_frame,end_frame\nb.mp4,fire,1,2\n{row}\n")
    with pytest.raises(InputError, match=f"annotations.csv, {message}"):
        read_annotations(path)


def test_errors_name_missing_columns(tmp_path: Path) -> None:
    path = tmp_path / "annotations.csv"
    path.write_text("path,label\n")
    with pytest.raises(InputError, match="no column start_frame, end_frame among"):
        read_annotations(path)


def test_contradictory_truths_are_refused() -> None:
    with pytest.raises(ValueError, match="a: labelled 'normal', but annotated with riot in frames 1 to 2"):
        VideoTruth("a", ("normal",), (Segment("riot", 1, 2),))
    with pytest.raises(ValueError, match=r"b: labelled 'normal', so it has no segments: give \(\)"):
        VideoTruth("b", ("normal",), None)
    with pytest.raises(ValueError, match="d: a video needs at least one label"):
        VideoTruth("d", (), None)


def test_frame_labels_end_before_the_end_frame() -> None:
    labels = frame_labels([Segment("riot", 2, 4), Segment("fire", 3, 6)], 8)
    assert labels.tolist() == [False, False, True, True, True, True, False, False]
    assert (
        frame_labels([Segment("riot", 5, 10)], 8).sum() == 3
    )  # exceeds the end by two frames, as in UCF-Crime
    with pytest.raises(ValueError, match="film: segment riot 5-40 is outside the 8 frames"):
        frame_labels([Segment("riot", 5, 40)], 8, "film")
    with pytest.raises(ValueError, match="film: segment riot 8-9 is outside"):
        frame_labels([Segment("riot", 8, 9)], 8, "film")


def test_names_of_xd_violence_contain_their_classes() -> None:
    assert xd_violence_codes("Bad.Boys.1995__#01-11-55_01-12-40_label_G-B2-B6") == ("G", "B2", "B6")
    assert xd_violence_codes("v=x__#1_label_B4-0-0.mp4") == ("B4",)
    assert xd_violence_codes("film_label_A") == ("A",)
    for name in ("film_label_B3-0-0", "film", "film_label_0-0-0"):
        with pytest.raises(AnnotationError, match="does not end in _label_"):
            xd_violence_codes(name)


def test_errors_name_a_line_that_is_too_short(tmp_path: Path) -> None:
    path = tmp_path / "ucf.txt"
    path.write_text("Abuse028_x264  Abuse  165  240  -1  -1  \n\nAbuse030_x264  Abuse  12\n")
    with pytest.raises(AnnotationError, match=r"ucf\.txt, line 3: 3 fields, expected at least 6"):
        import_ucf_crime_annotations(path)


def test_the_file_without_classes_annotates_frames_only(tmp_path: Path) -> None:
    path = tmp_path / "annotations.txt"
    path.write_text("a_label_B4-0-0.mp4 0 10 20 30\nb_label_B4-G-0 0 10\n")
    videos = [Video("a_label_B4-0-0", ("riot",)), Video("b_label_B4-G-0", ("riot", "explosion"))]
    imported = import_annotations(path, videos)
    assert imported.segments == {"a_label_B4-0-0": [("riot", 0, 10), ("riot", 20, 30)]}
    assert imported.frames == {"b_label_B4-G-0": [("riot", 0, 10)]}
    with pytest.raises(AnnotationError, match=r"line 1: expected a name and, for each segment, class code"):
        import_xd_violence_annotations(path)


def test_errors_name_a_line_with_an_incomplete_segment(tmp_path: Path) -> None:
    path = tmp_path / "annotations.txt"
    path.write_text("b_label_B4-0-0 0 10\na_label_B4-0-0 0 10 20\n")
    with pytest.raises(AnnotationError, match=r"line 2: the last segment is incomplete: .*20"):
        import_xd_violence_frames(path)
    path.write_text("b_label_B4-0-0 B4 0 10\na_label_B4-0-0 B4 0 10 B4 20\n")
    with pytest.raises(AnnotationError, match=r"line 2: expected a name and, for each segment"):
        import_xd_violence_annotations(path)


class Video(NamedTuple):
    name: str
    labels: tuple[str, ...]
    n_frames: int | None = None


def test_the_official_files_are_told_apart(tmp_path: Path) -> None:
    ucf = tmp_path / "ucf.txt"
    ucf.write_text("Abuse028_x264.mp4  Abuse  165  240  -1  -1  \n")
    assert import_annotations(ucf, []).segments == {"Abuse028_x264": [("abuse", 165, 240)]}
    xd = tmp_path / "xd.txt"
    xd.write_text("b_label_B4-G-0 B4 0 10 G 5 20\n")
    assert import_annotations(xd, []).segments == {"b_label_B4-G-0": [("riot", 0, 10), ("explosion", 5, 20)]}
    xd.write_text("\n")
    with pytest.raises(AnnotationError, match="has no lines"):
        import_annotations(xd, [])
    with pytest.raises(ValueError, match="no annotations at"):
        import_annotations(tmp_path / "none", [])


@pytest.mark.parametrize(
    "content",
    [
        '{"videos": [{"video_name": "a.mp4", "label": "Fire", "anomalous": '
        '[{"start_frame": 3, "end_frame": 9}]}]}',
        '[{"path": "C:\\\\clips\\\\a.mp4", "segments": [[3, 9]]}]',
        '{"a": [[3, 9]]}',
        '{"a": [3, 9]}',
        '{"a": {"events": [{"start": 3, "end": 9, "label": "fire"}]}}',
    ],
)
def test_json_annotations_are_read(content: str, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_bytes(content.encode("utf-8-sig"))
    imported = import_annotations(tmp_path / "truth.json", [Video("a", ("fire",))])
    assert imported.segments == {"a": [("fire", 3, 9)]}
    assert imported.frames == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"truth\.json, line 1: not JSON"),
        ("3", 'expected {"videos"'),
        ('[{"segments": [[3, 9]]}]', r"truth\.json, video 1: no name; expected one of"),
        ('{"a": [[3]]}', r"video 1: expected start_frame and end_frame, whole numbers, not \[3\]"),
        ('{"a": [[9, 3]]}', "video 1: 0 <= start < end is required"),
        ('{"a": [[0.5, 3]]}', "whole numbers"),
        ('{"n": [[0, 3]]}', "video 1: the label must be the name of an anomaly class, not 'normal'"),
    ],
)
def test_invalid_json_annotations_are_refused(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text(content)
    with pytest.raises(AnnotationError, match=message):
        import_annotations(tmp_path / "truth.json", [Video("a", ("fire",)), Video("n", ("normal",))])


MASKED = [Video("a", ("fire",), 6), Video("n", ("normal",), 3), Video("b", ("fire", "riot"), 4)]
MASKS = {"a": [0, 1, 1, 0, 0, 1], "n": [0, 0, 0], "b": [1, 1, 0, 0]}


def test_frame_masks_of_a_folder_are_read(tmp_path: Path) -> None:
    for name, mask in MASKS.items():
        np.save(tmp_path / f"{name}.npy", np.array(mask, dtype=np.uint8))
    imported = import_annotations(tmp_path, MASKED)
    assert imported.segments == {"a": [("fire", 1, 3), ("fire", 5, 6)], "n": []}
    assert imported.frames == {"b": [("fire", 0, 2)]}
    np.save(tmp_path / "n.npy", np.zeros(4))
    with pytest.raises(AnnotationError, match=r"n\.npy has 4 labels, but n have 3 frames"):
        import_annotations(tmp_path, MASKED)


def test_one_array_in_the_order_of_the_list_is_divided(tmp_path: Path) -> None:
    path = tmp_path / "gt.npy"
    np.save(path, np.concatenate(list(MASKS.values())).astype(float)[:, None])
    imported = import_annotations(path, MASKED)
    assert imported.segments == {"a": [("fire", 1, 3), ("fire", 5, 6)], "n": []}
    assert imported.frames == {"b": [("fire", 0, 2)]}
    with pytest.raises(AnnotationError, match=r"has 13 labels, but the 2 test videos have 9 frames"):
        import_annotations(path, MASKED[:2])
    with pytest.raises(ValueError, match="the number of frames of a is not known"):
        import_annotations(path, [Video("a", ("fire",))])
    np.save(path, np.array([0, 2, 1]))
    with pytest.raises(AnnotationError, match="expected the labels 0"):
        import_annotations(path, [Video("a", ("fire",), 3)])
    np.save(path, np.array([{"run": "me"}]), allow_pickle=True)
    with pytest.raises(AnnotationError, match="not an array of numbers"):
        import_annotations(path, [Video("a", ("fire",), 3)])


def test_real_json_annotations_are_read(shared: Path) -> None:
    source = shared / "data" / "real-features" / "my_test.json"
    videos = [Video(f"assault{number:03}", ("assault",)) for number in range(1, 6)]
    imported = import_annotations(source, videos)
    assert imported.segments["assault001"][0] == ("assault", 7197, 7248)
    assert len(imported.segments["assault001"]) >= 7


# Against the published ground truths


def test_ucf_crime_agrees_with_the_segment_ground_truth() -> None:
    published = ucf_crime()
    folder = data_folder("ucf-crime")
    annotations = import_ucf_crime_annotations(folder / "Temporal_Anomaly_Annotation.txt")
    assert annotations == import_ucf_crime_annotations(folder / "test-frame-counts.tsv")
    assert len(annotations) == 290
    assert {s.label for found in annotations.values() for s in found} == set(UCF_CRIME_CLASSES[1:])
    for name, truth in zip(published.names, published.segments, strict=True):
        expected = [(label.lower(), int(start), int(end)) for label, start, end in truth if label != "A"]
        assert annotations[name] == expected


def test_ucf_crime_fits_the_frame_counts() -> None:
    folder = data_folder("ucf-crime")
    counts = ucf_frame_counts(folder)
    annotations = import_ucf_crime_annotations(folder / "Temporal_Anomaly_Annotation.txt")
    labels = {name: frame_labels(found, counts[name], name) for name, found in annotations.items()}
    assert sum(counts.values()) == 1_111_808
    assert sum(truth.any() for truth in labels.values()) == 140


def test_ucf_crime_agrees_with_the_published_frames() -> None:
    folder = data_folder("ucf-crime")
    counts = ucf_frame_counts(folder)
    annotations = import_ucf_crime_annotations(folder / "Temporal_Anomaly_Annotation.txt")
    published = runs_of(frame_truth(folder / "gt-ucf-frames.npz"))
    ours = [(name, *run) for name in counts for run in runs_of(frame_labels(annotations[name], counts[name]))]
    cut = 0
    for (name, start, end), (first, last) in zip(ours, published, strict=True):
        # The published labels are as long as the I3D features: a segment at the end of a video may be cut.
        assert last - first == end - start or (end > counts[name] - 32 and last - first < end - start)
        cut += last - first != end - start
    assert len(ours) == 156
    assert cut < 10
    assert gaps_agree(ours, published)


def test_xd_violence_agrees_with_the_segment_ground_truth() -> None:
    published = xd_violence()
    annotations = import_xd_violence_annotations(data_folder("xd-violence") / "annotations_multiclasses.txt")
    assert len(annotations) == 500
    for name, truth in zip(published.names, published.segments, strict=True):
        expected = [(XD_VIOLENCE_CODES[label], int(start), int(end)) for label, start, end in truth]
        if truth[0][0] == "A":
            assert name not in annotations
            assert xd_violence_codes(name) == ("A",)
        else:
            assert annotations[name] == expected


def test_names_of_xd_violence_agree_with_the_annotated_classes() -> None:
    annotations = import_xd_violence_annotations(data_folder("xd-violence") / "annotations_multiclasses.txt")
    other = {
        name
        for name, found in annotations.items()
        if {XD_VIOLENCE_CODES[code] for code in xd_violence_codes(name)} != {s.label for s in found}
    }
    assert other == {"Ip.Man.2008__#01-40-37_01-42-07_label_B4-0-0"}  # annotated as fighting, named as riot


def test_xd_violence_agrees_with_the_file_without_classes() -> None:
    folder = data_folder("xd-violence")
    coded = import_xd_violence_annotations(folder / "annotations_multiclasses.txt")
    plain = import_xd_violence_frames(folder / "annotations.txt")
    other = {}
    for name, segments in plain.items():
        length = max(segment.end_frame for segment in [*segments, *coded[name]])
        differ = frame_labels(coded[name], length) != frame_labels(segments, length)
        other[name] = int(differ.sum())
    assert other.pop("v=38GQ9L2meyE__#1_label_B6-0-0") == 4650 - 4511  # one file lacks its last segment
    # In four videos, the file with classes has a gap of one frame between two segments.
    assert max(other.values()) == 1
    assert sum(frames > 0 for frames in other.values()) == 4
    assert coded.keys() == plain.keys()


def test_xd_violence_agrees_with_the_published_frames() -> None:
    """Video lengths are unknown: runs are equal, cut at the end of a video, or joined across two videos."""
    published = xd_violence()
    folder = data_folder("xd-violence")
    segments = import_xd_violence_frames(folder / "annotations.txt")
    ours = []
    for name in published.names:
        length = max([0, *(segment.end_frame for segment in segments.get(name, []))])
        ours += [(name, *run) for run in runs_of(frame_labels(segments.get(name, []), length))]
    lengths = [last - first for first, last in runs_of(frame_truth(folder / "gt-xd-frames.npz"))]
    joined = [ours[0][2] - ours[0][1]]
    for (name, _, _), (other, start, end) in pairwise(ours):
        if name != other and start == 0 and joined[-1] < lengths[len(joined) - 1] - 16:
            joined[-1] += end - start
        else:
            joined.append(end - start)
    difference = np.array(joined) - lengths
    assert len(joined) == len(lengths) == 1218
    assert difference.min() >= 0
    assert difference.max() < 32  # cut where the features end
    assert (difference == 0).mean() > 0.9


def runs_of(labels: NDArray[np.bool_]) -> list[tuple[int, int]]:
    padded = np.pad(labels, 1)
    edges = np.flatnonzero(padded[1:] != padded[:-1]).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def gaps_agree(ours: list[tuple[Any, int, int]], published: list[tuple[int, int]]) -> bool:
    """True if the gaps between segments of the same video are equal in both."""
    return all(
        ours[i][0] != ours[i + 1][0] or ours[i + 1][1] - ours[i][2] == published[i + 1][0] - published[i][1]
        for i in range(len(ours) - 1)
    )


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_annotations_from_a_spreadsheet_are_read(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "truth.csv"
    text = "Path;Label;Start Frame;End Frame\r\n\r\nclips\\ä.mp4;Fire;5;60\r\n;;;\r\n"
    path.write_bytes(text.encode(encoding))
    assert read_annotations(path) == {tmp_path / "clips" / "ä.mp4": [Segment("fire", 5, 60)]}


def test_an_official_annotation_file_in_a_code_page_is_named(tmp_path: Path) -> None:
    path = tmp_path / "ucf.txt"
    path.write_bytes("\nÜber.mp4 Abuse 1 5 -1 -1\n".encode("cp1252"))
    with pytest.raises(
        InputError, match=r"ucf\.txt, line 2: not UTF-8 \(byte 0xDC\); save the file as UTF-8"
    ):
        import_ucf_crime_annotations(path)
