"""Score files: round trip, damage, atomic writes, shapes; mapping of snippets to frames."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.scores import (
    ScoreFileError,
    VideoScores,
    content_digest,
    expand_to_frames,
    read_provenance,
    read_scores,
    score_path,
    write_scores,
)
from tests.evaluate.videos import video_scores

FULL: dict[str, Any] = {
    "event_C": [0.2, 0.5, 0.3],
    "background_C": [0.9, 0.05, 0.05],
    "frame_index_T": np.arange(7) * 16 + 8,
    "time_s_T": np.arange(7) / 3,
    "learned_TD": np.ones((7, 4)),
    "normal_distance_T": np.linspace(0, 1, 7),
}


@pytest.mark.parametrize("extra", [{}, FULL], ids=["least", "all fields"])
def test_round_trip(tmp_path: Path, extra: dict[str, Any]) -> None:
    scores = video_scores("a [#1]=é", **extra)
    path = score_path(tmp_path / "new" / "folder", scores.name)
    write_scores(path, scores, {"model": "abc", "beta": 5.0})
    found = read_scores(path)
    for name, value in vars(scores).items():
        np.testing.assert_array_equal(getattr(found, name), value)
        assert getattr(getattr(found, name), "dtype", None) == getattr(value, "dtype", None)
    assert read_provenance(path) == {"model": "abc", "beta": 5.0}
    assert len(content_digest(path)) == 64


def test_same_scores_give_the_same_bytes(tmp_path: Path) -> None:
    for name, provenance in (("one", {"b": 1, "a": 2}), ("two", {"a": 2, "b": 1})):
        write_scores(tmp_path / name, video_scores(**FULL), provenance)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_checksum_of_known_content_stays_the_same(tmp_path: Path) -> None:
    """Files of earlier versions must open: another rule for the checksum would call all of them damaged."""
    classes_TC = [[0.75, 0.25], [0.5, 0.5]]
    scores = VideoScores("street", [0.25, 0.5], classes_TC, ("normal", "riot"), 16, 32, 25.0)
    write_scores(tmp_path / "a.h5", scores, {"model": "abc", "beta": 5.0})
    assert (
        content_digest(tmp_path / "a.h5")
        == "34ffdbb842205f728127762647975616d1d3e4a178b4586b3a217b2a87436c0f"
    )


def test_a_locked_file_is_read(tmp_path: Path) -> None:
    """Reading takes no lock, which some network file systems refuse."""
    fcntl = pytest.importorskip("fcntl")
    write_scores(tmp_path / "a.h5", video_scores(), {})
    with (tmp_path / "a.h5").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert read_scores(tmp_path / "a.h5").name == "video"


def test_arrays_have_the_types_of_the_file() -> None:
    scores = video_scores(**FULL, start_s_T=np.arange(7), end_s_T=np.arange(7))
    types = {"frame_index_T": "int64", "learned_TD": "float16"} | dict.fromkeys(
        ("time_s_T", "start_s_T", "end_s_T"), "float64"
    )
    for name, value in vars(scores).items():
        if isinstance(value, np.ndarray):
            assert value.dtype == types.get(name, "float32")


def test_the_least_and_the_highest_valid_values_are_accepted() -> None:
    classes_TC = np.eye(3)[[0, 1, 2, 0, 1, 2, 0]]
    video_scores(anomaly_T=[0, 1, 0, 1, 0, 1, 0], classes_TC=classes_TC, fps=0.5)
    assert score_path(Path("scores"), "Xray") == Path("scores/Xray.h5")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_scores(path, video_scores(), {})
    with h5py.File(path, "r+") as file:
        file["anomaly_T"][3] = 0.123
    with pytest.raises(ScoreFileError, match="checksum mismatch"):
        read_scores(path)
    write_scores(path, video_scores(), {})
    with h5py.File(path, "r+") as file:
        file.attrs["fps"] = 30.0
    with pytest.raises(ScoreFileError, match="checksum mismatch"):
        read_scores(path)
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 9
    with pytest.raises(ScoreFileError, match=r"a\.h5 has schema version 9, expected 1; delete it"):
        read_scores(path)
    with h5py.File(path, "r+") as file:
        del file["classes_TC"], file.attrs["checksum"]
    assert content_digest(path) == ""
    with pytest.raises(ScoreFileError, match=r"a\.h5 is incomplete .*checksum"):
        read_scores(path)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(ScoreFileError, match="not an HDF5 file"):
        read_scores(path)
    with pytest.raises(FileNotFoundError, match="run inference"):
        read_scores(tmp_path / "none.h5")


def test_a_failed_write_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    write_scores(path, video_scores(seed=1), {})
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write_scores(path, video_scores(seed=2), {"not json": object()})
    with pytest.raises(UnicodeEncodeError):
        write_scores(path, video_scores("\ud800"), {})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.h5"]


@pytest.mark.parametrize("name", ["", "../a", "a/b", "a\\b", ".hidden", "a\0b"])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="is not a video name"):
        score_path(tmp_path, name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anomaly_T": np.full(7, np.nan)}, "NaN"),
        ({"anomaly_T": np.full(7, 1.5)}, r"\[0, 1\]"),
        ({"anomaly_T": np.ones(6)}, "classes_TC has shape"),
        ({"classes_TC": np.ones((7, 3))}, "sum to 1"),
        ({"classes_TC": np.full((7, 3), 0.34)}, "sum to 1"),
        ({"classes_TC": np.full((7, 2), 0.5)}, "classes_TC has shape"),
        ({"classes": ("riot", "normal", "fire")}, r"first class must be 'normal', not \('riot',\)"),
        ({"n_frames": 96}, "7 snippets of 16 frames do not fit 96 frames"),
        ({"n_frames": 128}, "do not fit"),
        ({"fps": 0.0}, "fps"),
        ({"event_C": [1.0]}, "event_C has shape"),
        ({"learned_TD": np.ones(7)}, "learned_TD has shape"),
    ],
)
def test_invalid_scores_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^crime_7: .*{message}"):
        VideoScores(**vars(video_scores("crime_7")) | changes)


@settings(deadline=None)
@given(n_frames=st.integers(1, 400), length=st.integers(1, 40), keep_tail=st.booleans())
def test_every_frame_gets_its_snippets_value(n_frames: int, length: int, keep_tail: bool) -> None:
    n_snippets = max(-(-n_frames // length) if keep_tail else n_frames // length, 1)
    frames = expand_to_frames(np.arange(n_snippets), length, n_frames)
    assert frames.tolist() == [min(frame // length, n_snippets - 1) for frame in range(n_frames)]
    for wrong in (n_snippets + 2, max(n_snippets - 2, 0)):
        with pytest.raises(ValueError, match=r"^film: "):
            expand_to_frames(np.arange(wrong), length, n_frames, "film")
        with pytest.raises(ValueError, match=r"^video: "):
            expand_to_frames(np.arange(wrong), length, n_frames)


def test_class_scores_expand_to_frames() -> None:
    assert expand_to_frames(np.array([5]), 16, 20).tolist() == [5] * 20
    with pytest.raises(ValueError, match="2 snippets of 16 frames do not fit 16 frames"):
        expand_to_frames(np.array([1, 2]), 16, 16)
    frames = expand_to_frames(np.array([[1, 2], [3, 4]]), 16, 20)
    assert frames.shape == (20, 2)
    assert frames[[0, 15, 16, 19]].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]
