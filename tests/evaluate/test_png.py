"""PNG pictures: timelines of one video and of several, training curves, colours."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageColor

from evaluate.predictions import anomalous_intervals
from evaluate.report.chart_data import LINE_COLOURS
from evaluate.report.png import rgb, save_timeline, set_time_ticks, training_picture
from tests.evaluate.videos import video_scores


def test_timelines_of_one_video_and_of_several(tmp_path: Path) -> None:
    videos = [video_scores(name, 400, seed) for seed, name in enumerate(["$a_b$ {x}", "one", "é"])]
    intervals = [anomalous_intervals(video) for video in videos]
    one = save_timeline(tmp_path / "new" / "one.png", videos[0], intervals[0])
    all_of_them = save_timeline(tmp_path / "all.png", videos, intervals)
    none_found = save_timeline(tmp_path / "none.png", videos[0], [])
    with Image.open(one) as small, Image.open(all_of_them) as large:
        assert small.format == "PNG"
        assert small.width == large.width
        assert large.height > 2 * small.height
    assert none_found.read_bytes() != one.read_bytes()
    with pytest.raises(ValueError, match="argument"):
        save_timeline(tmp_path / "bad.png", videos, intervals[:2])


def test_a_picture_has_at_most_50_videos(tmp_path: Path) -> None:
    videos = [video_scores(f"video {index}", 32, index) for index in range(55)]
    path = save_timeline(tmp_path / "all.png", videos, [[] for _ in videos])
    with Image.open(path) as picture:
        assert picture.height < 2**16


def test_a_long_video_is_drawn_with_its_peaks(tmp_path: Path) -> None:
    anomaly = np.zeros(20_000)
    flat = save_timeline(tmp_path / "flat.png", video_scores("x", 320_000, anomaly_T=anomaly), [])
    anomaly[12_345] = 1
    peak = save_timeline(tmp_path / "peak.png", video_scores("x", 320_000, anomaly_T=anomaly), [])
    assert flat.read_bytes() != peak.read_bytes()


def test_training_curves_become_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("epoch,step,total,align,val_auc\n0,1,2.0,1.0,\n0,2,1.5,0.7,0.6\n")
    both = training_picture(path)
    assert both.startswith(b"\x89PNG")
    assert training_picture(path) == both
    path.write_text("epoch,step,total\n")
    with pytest.raises(ValueError, match="has no rows: the training has not completed a step"):
        training_picture(path)


def test_a_line_of_one_point_is_visible(tmp_path: Path) -> None:
    path = tmp_path / "curves.csv"
    path.write_text("epoch,step,total\n0,1,2.0\n")
    with Image.open(BytesIO(training_picture(path))) as picture:
        pixels = np.asarray(picture.convert("RGB"))
    height, width, _ = pixels.shape
    middle = pixels[height // 8 :, width // 4 : 3 * width // 4]  # without the legend
    assert (middle == ImageColor.getrgb(str(rgb("accent")))).all(axis=2).any()


def test_colours_are_those_of_the_light_theme() -> None:
    assert rgb("accent") == "#2f5fd0"
    assert rgb("faint") == "#a3a9b3"
    colours = {rgb(name) for name in LINE_COLOURS}
    assert len(colours) == len(LINE_COLOURS)


@pytest.mark.parametrize(
    ("end_s", "labels"),
    [
        (0.4, ["0:00.00", "0:00.05", "0:00.10"]),
        (8, ["0:00", "0:01", "0:02"]),
        (90, ["0:00", "0:10", "0:20"]),
        (4000, ["0:00", "10:00", "20:00", "30:00", "40:00", "50:00", "1:00:00"]),
        (90_000, ["0:00", "6:00:00", "12:00:00", "18:00:00", "24:00:00"]),
    ],
)
def test_time_axes_are_labelled_in_hours_minutes_and_seconds(end_s: float, labels: list[str]) -> None:
    axis = Figure().subplots()
    axis.set_xlim(0, end_s)
    set_time_ticks(axis, end_s)
    shown = [axis.xaxis.get_major_formatter()(tick, None) for tick in axis.get_xticks() if 0 <= tick <= end_s]
    assert shown[: len(labels)] == labels
    assert len(shown) <= 13


def test_names_and_classes_are_drawn_as_they_are(tmp_path: Path) -> None:
    """Dollar signs would start a formula, and matplotlib cannot draw undecodable bytes."""
    classes = ("normal", "a $x$ $\\frac", "fire")
    scores = video_scores("caf\udce9 $x$ $\\frac", classes=classes, anomaly_T=np.ones(7))
    intervals = anomalous_intervals(scores)
    assert save_timeline(tmp_path / "all.png", scores, intervals).read_bytes().startswith(b"\x89PNG")


def test_a_class_that_begins_with_an_underscore_is_in_the_legend(tmp_path: Path) -> None:
    pictures = set()
    for name in ("_fire", "_riot"):
        fine = [[0.2, 0.5, 0.3]] * 7
        scores = video_scores(
            "film", classes=("normal", name, "smoke"), classes_TC=fine, anomaly_T=np.ones(7)
        )
        path = save_timeline(tmp_path / "all.png", scores, anomalous_intervals(scores))
        pictures.add(path.read_bytes())
    assert len(pictures) == 2  # the name in the legend is the only difference
