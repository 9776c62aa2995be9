"""`dsanet features match`: its table, its settings, its exit code, and the CSV of cosines."""

import csv
from pathlib import Path

import numpy as np
import pytest

from extract.config import ExtractConfig, ExtractRuntime
from extract.encoder import single_torch_thread
from extract.engine import extract_videos
from extract.match.match import match_features
from flows.cli.match_output import print_match, write_cosines
from tests.extract.match_footage import features_of, load_small, make_footage, write_arrays
from tests.extract.numbered_clips import records_of
from tests.flows.commands import Dsanet


def test_the_table_the_settings_and_the_notes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = make_footage(tmp_path / "videos", {"a": 160, "b": 96, "c": 40})
    one = features_of(videos, tmp_path / "one", crops=5)
    other = features_of(videos, tmp_path / "other", colour="bgr", crops=5)
    arrays = write_arrays(
        tmp_path / "arrays", {"a": one["a"], "b": np.concatenate([one["b"][:3], other["b"][3:]])}
    )
    with single_torch_thread():
        result = match_features(arrays, videos, weights=["random"], load=load_small)
    monkeypatch.setenv("COLUMNS", "120")
    capsys.readouterr()
    print_match(result)
    text = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")] for line in text.splitlines() if line.startswith("│")]
    assert [row[1:5] for row in cells] == [["a", "0 to 4", "1", "10"], ["b", "0 to 4", "1, 2", "6"]]
    assert "recipe 1  frame 8 of 16, shorter side to 224, bicubic, RGB, not normalised" in text
    assert "settings  --set extract.crops=5 --set extract.weights=random" in text
    assert "settings  --set extract.colour=bgr --set extract.weights=random" in text
    assert "note b: rows 3 to 5, from frame 48 (0:01.60) on: made by recipe 2" in " ".join(text.split())
    assert "note videos without features of their name: c.mp4" in text
    assert text.splitlines()[-1].startswith("not identified")
    write_cosines(tmp_path / "cosines.csv", result)
    rows = list(csv.DictReader((tmp_path / "cosines.csv").read_text().splitlines()))
    assert len(rows) == 5 * (10 + 6)
    assert {row["file"] for row in rows if row["video"] == "b"} == {f"b__{crop}.npy" for crop in range(5)}
    assert float(rows[0]["cosine"]) > 0.9999 > float(rows[-1]["cosine"])
    assert (rows[-1]["row"], rows[-1]["frame"], rows[-1]["time_s"]) == ("5", "80", "2.667")


def test_wrong_input_is_one_line(tmp_path: Path, dsanet: Dsanet) -> None:
    (tmp_path / "arrays").mkdir()
    for name in ("a", "b"):
        np.save(tmp_path / f"arrays/{name}.npy", np.ones((3, 512)))
    video = tmp_path / "camera.mp4"
    video.touch()
    code, _, problem = dsanet("features", "match", tmp_path / "arrays", video, "--weights", "random")
    assert code == 2
    assert problem == (
        f"dsanet: no video has the name of features in {tmp_path}/arrays (features of a, b; "
        "videos camera.mp4); name the videos as the features\n"
    )
    code, _, problem = dsanet("features", "match", tmp_path / "arrays/a.npy", video, "--weights", "random")
    assert (code, problem.count("\n")) == (2, 1)
    assert problem.startswith("dsanet: none of the videos can be decoded, first: camera: ")


@pytest.mark.slow
def test_real_image_tower(tmp_path: Path, dsanet: Dsanet) -> None:
    """CLIP's own architecture, with random weights: the recipe of the field's ten-crop scripts."""
    videos = make_footage(tmp_path / "videos", {"a": 112, "b": 80})
    settings = {
        "resize": "340x256",
        "resampling": "bilinear",
        "antialias": False,
        "frame_pick": "first",
        "crop": 5,
    }
    config = ExtractConfig.model_validate({"weights": "random", **settings})
    extract_videos(records_of(*videos), tmp_path / "features", config, ExtractRuntime(device="cpu"))
    out = tmp_path / "cosines.csv"
    arguments = (
        tmp_path / "features",
        tmp_path / "videos",
        "--weights",
        "random",
        "--device",
        "cpu",
        "--out",
        out,
    )
    code, text, _ = dsanet("features", "match", *arguments)
    assert code == 0
    expected = "--set extract.frame_pick=first --set extract.resize=340x256 --set extract.resampling=bilinear"
    assert f"{expected} --set extract.antialias=false --set extract.crop=5" in text
    assert min(float(row["cosine"]) for row in csv.DictReader(out.read_text().splitlines())) > 0.9999
