"""Scores of other programs: files read, names matched, lengths fitted, ranges scaled; by hand."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluate.foreign_scores.assign import assign
from evaluate.foreign_scores.content import ScoredInterval
from evaluate.foreign_scores.convert import class_names, convert
from evaluate.foreign_scores.intervals import paint
from evaluate.foreign_scores.lengths import Every, fit, parse_every, split
from evaluate.foreign_scores.names import match_names
from evaluate.foreign_scores.read import ForeignScores, read_foreign_scores
from evaluate.foreign_scores.rules import ImportRules, VideoLength
from evaluate.foreign_scores.scale import parse_classes, scaled_anomaly, scaled_classes
from extract.errors import InputError, MissingFileError

FRAME = ImportRules(Every(1))


def written(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, str):
        path.write_text(content)
    else:
        path.write_text(json.dumps(content))
    return path


def interval(start: float, end: float, score: float, label: str = "", unit: Any = "frames") -> ScoredInterval:
    return ScoredInterval(start, end, unit, score, label)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.npy", np.array([0.0, 0.5, 1.0])),
        ("a.npy", np.array([[0.0], [0.5], [1.0]], dtype=np.float32)),
        ("a.json", [0, 0.5, 1]),
        ("a.json", {"scores": [0, 0.5, 1]}),
        ("a.json", [{"frame": 0, "score": 0}, {"frame": 1, "score": 0.5}, {"frame": 2, "score": 1}]),
        ("a.csv", "score\n0\n0.5\n1\n"),
        ("a.csv", "Frame;Score\n0;0\n16;0.5\n32;1\n"),
        ("a.csv", "0\n0.5\n1\n"),
        ("a.csv", "my output\n0\n0.5\n1\n"),
        ("a.txt", "0\n5e-1\n1.0\n"),
    ],
)
def test_scores_of_one_video_in_each_form(tmp_path: Path, name: str, content: object) -> None:
    path = written(tmp_path, name, content)
    joined = read_foreign_scores(path, {}).joined
    assert joined is not None
    assert joined.tolist() == [0, 0.5, 1]
    assert joined.dtype == np.float64
    (values,) = read_foreign_scores(tmp_path, {}).named.values()
    assert np.asarray(values).tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("all.json", {"a": [0.1, 0.2], "b": [0.3]}),
        ("all.json", [{"video": "a", "scores": [0.1, 0.2]}, {"video": "b", "scores": [0.3]}]),
        ("all.json", [{"name": v, "score": s} for v, s in (("a", 0.1), ("a", 0.2), ("b", 0.3))]),
        ("all.csv", "video,score\na,0.1\na,0.2\nb,0.3\n"),
        ("all.csv", "snippet\tvideo\tanomaly score\n0\ta\t0.1\n1\ta\t0.2\n0\tb\t0.3\n"),
    ],
)
def test_scores_of_several_videos_in_one_file(tmp_path: Path, name: str, content: object) -> None:
    found = read_foreign_scores(written(tmp_path, name, content), {})
    assert found.joined is None
    assert {video: np.asarray(values).tolist() for video, values in found.named.items()} == {
        "a": [0.1, 0.2],
        "b": [0.3],
    }


@pytest.mark.parametrize(
    ("name", "content", "unit"),
    [
        (
            "x.json",
            [{"video": "a", "start_frame": 2, "end_frame": 5, "score": 0.9, "label": "Riot"}],
            "frames",
        ),
        ("x.json", {"a": [{"start_s": 2, "end_s": 5, "score": 0.9, "class": "riot"}]}, "seconds"),
        ("x.json", {"results": {"a": [{"segment": [2, 5.5], "score": 0.9, "label": "riot"}]}}, "seconds"),
        ("x.json", {"a": [{"start": 2.5, "end": 5, "score": 0.9, "label": "riot"}]}, "seconds"),
        ("x.csv", "video,start_frame,end_frame,class,score\na,2,5,riot,0.9\n", "frames"),
        ("x.csv", "video,start_s,end_s,start_frame,end_frame,class,score\na,.1,.2,2,5,riot,.9\n", "frames"),
    ],
)
def test_intervals_in_each_form(tmp_path: Path, name: str, content: object, unit: str) -> None:
    (found,) = read_foreign_scores(written(tmp_path, name, content), {}).named["a"]
    assert isinstance(found, ScoredInterval)
    assert (found.label, found.score, found.unit) == ("riot", 0.9, unit)
    assert found.start in (2, 2.5)
    assert found.end in (5, 5.5)


def test_a_file_of_one_video_without_its_name_has_the_name_of_the_file(tmp_path: Path) -> None:
    records = [{"start_s": 0, "end_s": 1, "score": 1}]
    found = read_foreign_scores(written(tmp_path, "street.json", records), {})
    assert list(found.named) == ["street"]
    folder = written(tmp_path / "folder", "deep/er/street.json", records).parents[2]
    assert list(read_foreign_scores(folder, {}).named) == ["street"]


def test_class_columns_of_a_csv_are_found_by_their_headings(tmp_path: Path) -> None:
    path = written(tmp_path, "a.csv", "Car Accident,normal,frame\n0.1,0.9,0\n0.8,0.2,1\n")
    joined = read_foreign_scores(path, {"normal": "normal", "car_accident": "car accident"}).joined
    assert joined is not None
    assert joined.tolist() == [[0.9, 0.1], [0.2, 0.8]]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.npy", np.zeros((2, 3, 4)), r"shape \(2, 3, 4\); expected \(T,\)"),
        ("a.npy", np.zeros(0), r"shape \(0,\)"),
        ("a.npy", np.array(0.5), r"shape \(\)"),
        ("a.npy", np.array(["0.5"]), "values of type <U3, expected numbers"),
        ("a.npy", np.array([1j]), "complex128, expected numbers"),
        ("a.npy", np.array([0.1, np.nan]), "value 1 .*not a finite number"),
        ("a.npy", "no array", "not an array of numbers"),
        ("a.json", "[0.1,", "line 1: not JSON"),
        ("a.json", "[" * 20_000, "too deep"),
        ("a.json", {}, "no video"),
        ("a.json", {"a": 0.5}, r"a: '0.5'; expected a list"),
        ("a.json", {"a": [0.5, "x"]}, "a: value 1 is 'x', expected a number"),
        ("a.json", {"a": [0.5, True]}, "'True', expected a number"),
        ("a.json", {"a": [[0.5, 0.5], [1]]}, "rows of different lengths"),
        ("a.json", [0.5, [0.5]], "expected a number"),
        ("a.json", "[1" + "0" * 400 + "]", "expected a number"),
        (
            "a.json",
            {"a": [{"start": 1, "end": 2, "score": 1}]},
            "can be seconds or frames; name them start_s",
        ),
        (
            "a.json",
            {"a": [{"start_s": 3, "end_s": 2, "score": 1}]},
            "0 <= start_s < end_s is required, got 3",
        ),
        ("a.json", {"a": [{"start_s": 1, "end_s": 2}]}, "score is 'None', expected a number"),
        ("a.json", [{"video": "a", "score": 1}, {"score": 1}], "record 1: no video"),
        ("a.csv", "", "is empty"),
        ("a.csv", "score\n", "has headings and no rows"),
        ("a.csv", "frame,value\n0,1\n", "no column score among 'frame, value'"),
        ("a.csv", "score\n0.1\nlow\n", "line 3: score is 'low', expected a number"),
        (
            "a.csv",
            "frame,score\n0,0.1\n2,0.1\n3,0.2\n",
            "line 4: position 3 after 2; expected rows in the order",
        ),
        ("a.csv", "frame,score\n1,0.1\n0,0.1\n", "line 3: position 0 after 1"),
        ("a.csv", "video,score\n,0.1\n", "line 2: video is empty"),
        ("a.pkl", "", r"scores are read from .npy, .csv, .txt, .json, not from .pkl; save each array"),
    ],
)
def test_invalid_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: object, message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_foreign_scores(written(tmp_path, name, content), {})
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_pickled_arrays_and_archives_are_refused_without_being_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path(tmp_path / "run").touch, ())

    np.save(tmp_path / "a.npy", np.array([Evil()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="loading these would run code"):
        read_foreign_scores(tmp_path / "a.npy", {})
    assert not (tmp_path / "run").exists()
    np.savez(tmp_path / "b.npz", scores=np.zeros(3))
    (tmp_path / "b.npz").rename(tmp_path / "a.npy")
    with pytest.raises(InputError, match="archive of arrays"):
        read_foreign_scores(tmp_path / "a.npy", {})


def test_missing_empty_and_ambiguous_folders(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no scores at"):
        read_foreign_scores(tmp_path / "none", {})
    written(tmp_path, "notes.md", "x")
    with pytest.raises(
        InputError, match=r"expected .npy, .csv, .txt, .json files, one a video; found notes.md"
    ):
        read_foreign_scores(tmp_path, {})
    written(tmp_path, "a.npy", np.zeros(3))
    written(tmp_path, "sub/a.csv", "1\n")
    with pytest.raises(InputError, match=r"both have scores of a; keep one"):
        read_foreign_scores(tmp_path, {})


VIDEOS = ("Abuse028_x264", "Abuse030_x264", "v=S-7rRLrxnVQ__#1_label_B4-0-0")


@pytest.mark.parametrize(
    "name",
    ["Abuse028_x264", "Abuse028_x264__5", "Abuse028_x264.mp4", "abuse028_X264", "out/Abuse028_x264.mp4"],
)
def test_names_with_crop_suffix_case_and_folder_match(name: str) -> None:
    found = match_names([name, *VIDEOS[1:]], VIDEOS)
    assert found.files == {VIDEOS[0]: name, VIDEOS[1]: VIDEOS[1], VIDEOS[2]: VIDEOS[2]}
    assert (found.missing, found.unknown, found.affix) == ((), (), "")


@pytest.mark.parametrize("form", ["{}_pred", "scores_{}", "{}.scores"])
def test_an_addition_that_all_names_have_is_ignored(form: str) -> None:
    found = match_names([form.format(video) for video in VIDEOS[:2]], VIDEOS)
    assert list(found.files) == list(VIDEOS[:2])
    assert found.affix == form.replace("{}", "")
    assert found.missing == VIDEOS[2:]


def test_names_that_several_videos_fit_match_none() -> None:
    assert match_names(["cam10"], ["cam1"]).missing == ("cam1",)
    assert match_names(["cam1_night"], ["cam1"]).missing == ("cam1",)  # one name is no rule
    assert match_names(["cam1_2", "cam2_2"], ["cam1", "cam2"]).files == {}  # other cameras, perhaps
    both = match_names(["A", "b_pred", "c_pred"], ["a", "b", "c"])
    assert both.files == {"a": "A"}  # with whole names there is no addition
    assert match_names(["CAM"], ["cam", "Cam"]).files == {}
    with pytest.raises(InputError, match=r"a__0 and a__5 are both scores of the video a"):
        match_names(["a__0", "a__5"], ["a"])


@pytest.mark.parametrize(
    ("text", "every"),
    [("frame", Every(1)), ("snippet", Every(16)), ("8", Every(8)), ("segments:32", Every(segments=32))],
)
def test_spacings(text: str, every: Every) -> None:
    assert parse_every(text) == every


@pytest.mark.parametrize("text", ["", "0", "-1", "frames", "segments", "segments:0", "1.5", "９"])
def test_invalid_spacings(text: str) -> None:
    with pytest.raises(InputError, match=r"expected frame, snippet"):
        parse_every(text)


def test_scores_of_snippets_may_drop_or_complete_the_last_one() -> None:
    for length in (2, 3):
        found = fit(np.zeros(length), Every(16), 40, "a")
        assert (len(found.values), found.snippet_length, found.n_frames, found.cut) == (length, 16, 40, 0)
    assert fit(np.zeros(1), Every(16), 5, "a").n_frames == 5
    assert fit(np.zeros(3), Every(16), None, "a").n_frames == 48


@pytest.mark.parametrize(
    ("length", "every", "n_frames", "message"),
    [
        (4, Every(16), 40, r"a: 4 scores, a score for 16 frames, but the video has 40 frames: 2 or 3 scores"),
        (1408, Every(1), 1412, "1,408 scores, a score a frame, but the video has 1,412 .*with --cut"),
        (1300, Every(1), 1412, "1,412 scores expected; check --every"),
        (88, Every(1), 1412, "that is --every snippet"),
        (1412, Every(16), 1412, "that is --every frame"),
        (32, Every(1), 1412, "perhaps --every segments:32"),
        (31, Every(segments=32), 1412, "31 scores, expected the 32"),
        (32, Every(segments=32), None, "the number of frames is not known"),
    ],
)
def test_lengths_that_do_not_fit_are_named_with_both(
    length: int, every: Every, n_frames: int | None, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        fit(np.zeros(length), every, n_frames, "a")


def test_cut_leaves_out_the_end_of_the_longer_one() -> None:
    shorter = fit(np.arange(1408), Every(1), 1412, "a", cut=True)
    assert (shorter.n_frames, shorter.cut, len(shorter.values)) == (1408, 4, 1408)
    longer = fit(np.arange(1424), Every(1), 1412, "a", cut=True)
    assert (longer.n_frames, longer.cut, len(longer.values)) == (1412, -12, 1412)
    by_four = fit(np.arange(352), Every(4), 1415, "a", cut=True)  # 353 or 354 would fit
    assert (by_four.n_frames, len(by_four.values)) == (1408, 352)
    with pytest.raises(InputError, match="1,396 scores"):
        fit(np.zeros(1396), Every(1), 1412, "a", cut=True)


def test_segments_are_spread_evenly_over_the_frames() -> None:
    found = fit(np.array([0.1, 0.2, 0.3]), Every(segments=3), 8, "a")
    assert found.values.tolist() == [0.1, 0.1, 0.2, 0.2, 0.2, 0.3, 0.3, 0.3]  # borders 0, 2, 5, 8
    assert (found.snippet_length, found.n_frames) == (1, 8)
    short = fit(np.array([[0.1, 0.9], [0.2, 0.8], [0.3, 0.7]]), Every(segments=3), 2, "a")
    assert short.values.tolist() == [[0.2, 0.8], [0.3, 0.7]]  # borders 0, 0, 1, 2


def test_one_array_is_split_by_the_lengths_of_the_videos() -> None:
    values = np.arange(100)
    assert [len(part) for part in split(np.zeros(72), Every(1), [40, 32])] == [40, 32]
    for total, counts in ((4, [2, 2]), (5, [3, 2])):  # the last snippet dropped, or completed
        assert [len(part) for part in split(values[:total], Every(16), [40, 32])] == counts
    assert split(values[:4], Every(segments=2), [40, 32])[1].tolist() == [2, 3]
    assert [len(part) for part in split(np.zeros(64), Every(1), [40, 32], cut=True)] == [32, 32]
    with pytest.raises(
        InputError, match=r"64 scores, a score a frame, but the 2 videos have 72 .*with --cut"
    ):
        split(np.zeros(64), Every(1), [40, 32])
    with pytest.raises(InputError, match=r"7 scores, a score for 16 frames, .*: 4 or 5 scores expected"):
        split(np.zeros(7), Every(16), [40, 32])
    with pytest.raises(InputError, match="5 scores, but 2 videos of 2 segments have 4"):
        split(np.zeros(5), Every(segments=2), [40, 32])


def test_intervals_are_painted_with_the_highest_score() -> None:
    anomaly, classes = paint([interval(1, 3, 0.5), interval(2, 4, 0.75)], 5, None, ("normal",))
    assert anomaly.tolist() == [0, 0.5, 0.75, 0.75, 0]
    assert classes is None
    seconds, _ = paint([interval(0.1, 0.3, 1, unit="seconds")], 5, 10.0, ("normal",))
    assert seconds.tolist() == [0, 1, 1, 0, 0]
    instant, _ = paint([interval(0.11, 0.12, 1, unit="seconds")], 5, 10.0, ("normal",))
    assert instant.tolist() == [0, 1, 0, 0, 0]  # at least one frame


def test_labelled_intervals_share_the_score_among_their_classes() -> None:
    painted = [interval(0, 2, 0.6, "riot"), interval(1, 3, 0.2, "fire")]
    anomaly, classes = paint(painted, 4, None, ("normal", "fire", "riot"))
    assert anomaly.tolist() == [0.6, 0.6, 0.2, 0]
    assert classes is not None
    assert classes == pytest.approx(np.array([[0.4, 0, 0.6], [0.4, 0.15, 0.45], [0.8, 0.2, 0], [1, 0, 0]]))


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (interval(6, 7, 1), "frames 6 to 7. is outside the 5 frames"),
        (interval(0, 22, 1), "is outside the 5 frames"),
        (interval(0, 1, 1, unit="seconds"), "the frame rate of the video is not known; give --fps"),
        (interval(0, 1, 1, "flood"), "the label 'flood'; expected one of riot"),
    ],
)
def test_intervals_outside_of_the_video_are_refused(one: ScoredInterval, message: str) -> None:
    with pytest.raises(InputError, match=message):
        paint([one], 5, None, ("normal", "riot"))


def test_scores_of_intervals_are_scaled_before_they_are_painted() -> None:
    values = {"a": (interval(0, 1, -np.log(3)),)}
    logits = ImportRules(Every(1), scale="logits")
    (video,), _ = convert(values, {}, lengths(a=2), ("normal",), logits)
    assert video.anomaly_T.tolist() == [0.25, 0]  # no interval: 0, not the sigmoid of 0
    with pytest.raises(InputError, match=r"the score -1.1, expected 0 to 1; give --scale logits"):
        convert({"a": (interval(0, 1, -1.1),)}, {}, lengths(a=2), ("normal",), FRAME)
    with pytest.raises(InputError, match="--scale range does not apply to intervals"):
        convert(values, {}, lengths(a=2), ("normal",), ImportRules(Every(1), scale="range"))


def test_intervals_may_end_a_little_after_the_video() -> None:
    assert paint([interval(3, 21, 1)], 5, None, ("normal",))[0].tolist() == [0, 0, 0, 1, 1]


def test_scores_outside_of_0_to_1_need_a_choice() -> None:
    values = {"a": np.array([-2.0, 0.0]), "b": np.array([2.0])}
    with pytest.raises(
        InputError, match=r"a: scores from -2 to 0, expected 0 to 1; give --scale logits .*range"
    ):
        scaled_anomaly(values, "none")
    assert scaled_anomaly({"a": np.array([-1e-7, 1 + 1e-7])}, "none")["a"].tolist() == [0, 1]  # rounding
    logistic = scaled_anomaly(values, "logits")
    assert logistic["a"] == pytest.approx([1 / (1 + np.e**2), 0.5])
    ranged = scaled_anomaly(values, "range")
    assert (ranged["a"].tolist(), ranged["b"].tolist()) == ([0, 0.5], [1])
    with pytest.raises(InputError, match="every score is 3"):
        scaled_anomaly({"a": np.array([3.0, 3.0])}, "range")
    assert scaled_anomaly({"a": np.array([-1e9, 1e9])}, "logits")["a"] == pytest.approx([0, 1])


def test_class_scores_are_shares_of_one() -> None:
    assert scaled_classes(np.array([[0.0, np.log(3)]]), "logits", "a") == pytest.approx(
        np.array([[0.25, 0.75]])
    )
    assert scaled_classes(np.array([[1.0, 3.0]]), "rows", "a").tolist() == [[0.25, 0.75]]
    for values, scale, message in (
        ([[0.5, 0.5], [1, 1]], "none", "row 1 sum to 2, expected 1; give --scale logits .*rows"),
        ([[-1.0, 2.0]], "none", "class scores down to -1"),
        ([[-1.0, 2.0]], "rows", "class scores down to -1"),
        ([[1.0, 0.0], [0.0, 0.0]], "rows", "all class scores of row 1 are 0"),
    ):
        with pytest.raises(InputError, match=message):
            scaled_classes(np.array(values), scale, "a")  # type: ignore[arg-type]


def test_class_lists() -> None:
    assert parse_classes("Abuse, Normal ,RoadAccidents") == ("abuse", "normal", "roadaccidents")
    assert parse_classes("A,B1,G") == ("normal", "fighting", "explosion")
    for text in ("abuse,arson", "normal", "normal,,abuse", "normal,Abuse,abuse"):
        with pytest.raises(InputError, match="--classes is"):
            parse_classes(text)
    intervals = {"a": (interval(0, 1, 1, "flood"),)}
    assert class_names(["riot", "normal"], intervals, FRAME) == ("normal", "flood", "riot")
    named = ImportRules(Every(1), classes=("riot", "normal"))
    assert class_names([], {}, named) == ("normal", "riot")


def lengths(**frames: int | None) -> dict[str, VideoLength]:
    return {name: VideoLength(count, 25.0) for name, count in frames.items()}


def test_class_scores_get_the_normal_class_first_and_give_the_anomaly_score() -> None:
    rules = ImportRules(Every(16), classes=("riot", "normal"))
    values = {"a": np.array([[0.25, 0.75], [1.0, 0.0]])}
    (video,), notes = convert(values, {}, lengths(a=30), ("normal", "riot"), rules)
    assert video.classes_TC is not None
    assert video.classes_TC.tolist() == [[0.75, 0.25], [0.0, 1.0]]
    assert video.anomaly_T.tolist() == [0.25, 1.0]
    assert (video.n_frames, video.snippet_length, video.fps) == (30, 16, 25.0)
    assert "anomaly scores are 1 - the score of the class normal" in notes
    assert "interpolated: every score stands for 16 frames" in notes


def test_class_scores_beside_anomaly_scores() -> None:
    rules = ImportRules(Every(1), classes=("normal", "riot"))
    values, beside = {"a": np.array([0.1, 0.9])}, {"a": np.array([[0.5, 0.5], [0.3, 0.7]])}
    (video,), notes = convert(values, beside, lengths(a=2), ("normal", "riot"), rules)
    assert video.anomaly_T == pytest.approx([0.1, 0.9])
    assert video.classes_TC == pytest.approx(np.array([[0.5, 0.5], [0.3, 0.7]]))
    assert notes == []
    with pytest.raises(InputError, match=r"a: expected anomaly scores \(T,\), and class scores \(T, C\)"):
        convert(beside, values, lengths(a=2), ("normal", "riot"), rules)


def test_columns_need_their_classes() -> None:
    with pytest.raises(InputError, match="a: scores in 3 columns, expected one; name them with --classes"):
        convert({"a": np.full((2, 3), 0.3)}, {}, lengths(a=2), ("normal",), FRAME)
    with pytest.raises(InputError, match="a: scores in 3 columns, expected the 2 of --classes"):
        convert({"a": np.full((2, 3), 0.3)}, {}, lengths(a=2), (), ImportRules(Every(1), ("normal", "riot")))


def test_notes_say_what_was_assumed() -> None:
    values = {"a": np.array([0.0, 1.0]), "b": np.array([0.5])}
    found, notes = convert(values, {}, {"a": VideoLength(), "b": VideoLength(1, 25.0)}, ("normal",), FRAME)
    assert [video.fps for video in found] == [30.0, 25.0]
    assert notes == [
        "the number of frames of 1 video(s) is that of their scores, nothing else tells it",
        "no frame rate known of 1 video(s): 30 a second assumed for times",
    ]
    rules = ImportRules(Every(1), cut=True, fps=10.0, scale="range")
    found, notes = convert({"a": np.arange(20.0)}, {}, {"a": VideoLength(18)}, ("normal",), rules)
    assert (found[0].fps, found[0].n_frames, found[0].anomaly_T.max()) == (10.0, 18, 1.0)
    assert notes == [
        "scores were mapped to 0 to 1 linearly, from the lowest to the highest of all videos",
        "the ends of 1 video(s), up to 2 frames, are left out (--cut): a",
    ]
    painted, notes = convert({"a": (), "b": (interval(0, 1, 1),)}, {}, lengths(a=2, b=2), ("normal",), FRAME)
    assert [video.anomaly_T.tolist() for video in painted] == [[0, 0], [1, 0]]
    assert notes[1] == "1 video(s) without an interval have the score 0 throughout: a"


def test_lengths_known_in_whole_snippets_are_refined_by_scores_of_frames() -> None:
    in_snippets = {"a": VideoLength(16, 25.0, in_snippets=True)}
    (video,), notes = convert({"a": np.zeros(20)}, {}, in_snippets, ("normal",), FRAME)
    assert video.n_frames == 20
    assert notes == ["the number of frames of 1 video(s) is that of their scores, nothing else tells it"]
    with pytest.raises(InputError, match="33 scores"):
        convert({"a": np.zeros(33)}, {}, in_snippets, ("normal",), FRAME)


def test_every_test_video_gets_its_scores(tmp_path: Path) -> None:
    two = {"a": np.zeros(2), "b": np.zeros(3)}
    found = assign(ForeignScores(two | {"c": np.zeros(1)}), tmp_path, ["b", "a"], ["c"], {}, FRAME)
    assert list(found.values) == ["b", "a"]
    assert found.unknown == ()  # c is another video of the manifest
    with pytest.raises(
        InputError, match=r"no scores of 1 of the 2 test videos: cam-1 \(nearest: cam_1\); leave"
    ):
        assign(
            ForeignScores({"cam_1": np.zeros(1), "a": np.zeros(1)}), tmp_path, ["cam-1", "a"], [], {}, FRAME
        )
    skipping = ImportRules(Every(1), skip_missing=True)
    skipped = assign(
        ForeignScores({"a": np.zeros(1), "x": np.zeros(1)}), tmp_path, ["a", "z"], [], {}, skipping
    )
    assert (skipped.missing, skipped.unknown) == (("z",), ("x",))
    with pytest.raises(InputError, match=r"no scores of 1 of the 1 test videos"):
        assign(ForeignScores({"x": np.zeros(1)}), tmp_path, ["a"], [], {}, skipping)


def test_a_file_of_intervals_leaves_videos_without_any(tmp_path: Path) -> None:
    file = written(tmp_path, "x.json", {})
    found = assign(ForeignScores({"a": (interval(0, 1, 1),)}), file, ["a", "b"], [], {}, FRAME)
    assert [len(values) for values in found.values.values()] == [1, 0]
    with pytest.raises(InputError, match="no video of the manifest is called aa; correct the names"):
        assign(ForeignScores({"a": (), "aa": ()}), file, ["a", "b"], [], {}, FRAME)
    with pytest.raises(InputError, match="intervals of some videos, arrays of others"):
        assign(ForeignScores({"a": (), "b": np.zeros(1)}), file, ["a", "b"], [], {}, FRAME)


def test_one_array_of_all_videos_needs_their_lengths(tmp_path: Path) -> None:
    joined = ForeignScores({}, np.arange(5.0))
    found = assign(joined, tmp_path, ["b", "a"], [], lengths(a=2, b=3), FRAME)
    assert {name: np.asarray(values).tolist() for name, values in found.values.items()} == {
        "b": [0, 1, 2],
        "a": [3, 4],
    }
    with pytest.raises(InputError, match="the number of frames of a is not known; give a column `frames`"):
        assign(joined, tmp_path, ["b", "a"], [], lengths(a=None, b=3), FRAME)
    with pytest.raises(InputError, match="5 scores, a score a frame, but the 2 videos have 6 frames"):
        assign(joined, tmp_path, ["b", "a"], [], lengths(a=3, b=3), FRAME)
    alone = assign(joined, tmp_path, ["a"], [], lengths(a=None), FRAME)
    assert len(alone.values["a"]) == 5
