"""What a later stage would refuse is refused before the first video is decoded."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evaluate.annotations import Segment, write_annotations
from extract.errors import InputError, MissingFileError
from extract.manifest import VideoRecord, read_manifest, write_manifest
from flows.pipeline.checks import check_frames, check_run, warn_of_unlearned_classes
from flows.pipeline.stages import EXTRACT, TRAIN
from flows.workspace.inputs import configure_workspace
from flows.workspace.run import Run
from tests.flows.commands import Dsanet
from tests.flows.tiny import SETTINGS, run_arguments

LONG = " ".join(["door"] * 120)


@pytest.fixture(scope="module")
def extracted(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the features of the footage."""
    root = tmp_path_factory.mktemp("extracted")
    configure_workspace(root, footage, preset="small", weights="random", settings=SETTINGS)
    EXTRACT.work(Run.load(root))
    return root


def run_of(
    footage: Path,
    root: Path,
    *settings: str,
    change: Callable[[VideoRecord], VideoRecord] = lambda record: record,
    annotations: dict[str, list[Segment]] | None = None,
) -> Run:
    """A run over the footage with changed records, settings and annotations (by name of the video)."""
    root.mkdir(exist_ok=True)
    records = [change(record) for record in read_manifest(footage)]
    write_manifest(root / "m.csv", records)
    if annotations is not None:
        paths = {record.name: record.path for record in records}
        write_annotations(
            root / "m.annotations.csv", {paths[name]: rows for name, rows in annotations.items()}
        )
    configure_workspace(
        root, root / "m.csv", preset="small", weights="random", settings=[*SETTINGS, *settings]
    )
    return Run.load(root)


def relabelled(name: str, label: str) -> Callable[[VideoRecord], VideoRecord]:
    return lambda record: replace(record, labels=(label,)) if record.name == name else record


def test_a_run_that_can_succeed_passes(footage: Path, tmp_path: Path) -> None:
    check_run(run_of(footage, tmp_path / "ws"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["evaluate.tsne=true"], r"tsne needs infer\.learned_features=true"),
        (["infer.crop=1"], r"infer\.crop is 1, but extract\.crops is 1"),
        (["infer.normal_distance=true", "model.normality=false"], r"normal_distance needs SG-NM .* dsanet"),
        (["model.detector=vadclip", "infer.normal_distance=true"], r"normal_distance needs SG-NM .* vadclip"),
        (["model.clip_weights=none.pt"], r"no CLIP weights at none\.pt"),
        (["model.text_tuning=manual", f"model.prompt_template={LONG} {{label}}"], "has 121 tokens"),
    ],
)
def test_settings_that_a_later_stage_refuses(
    footage: Path, tmp_path: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_run(run_of(footage, tmp_path / "ws", *settings))


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_label_that_clip_cannot_take_is_refused(footage: Path, tmp_path: Path, split: str) -> None:
    run = run_of(footage, tmp_path / "ws", change=relabelled(f"{split}-burns", LONG))
    with pytest.raises(InputError, match=r"'door door .*…' has 120 tokens, CLIP takes 75; shorten it"):
        check_run(run)
    without_text = run_of(
        footage,
        tmp_path / "ws",
        "model.detector=mil-ranking",
        change=relabelled(f"{split}-burns", LONG),
    )
    check_run(without_text)


def test_learned_tokens_count_too(footage: Path, tmp_path: Path) -> None:
    label = " ".join(["door"] * 60)
    settings = ["model.detector=vadclip", "model.context_tokens=10"]
    run = run_of(footage, tmp_path / "ws", *settings, change=relabelled("train-burns", label))
    with pytest.raises(InputError, match=r"60 tokens, CLIP takes 55 beside 20 learned ones"):
        check_run(run)


@pytest.mark.parametrize(
    ("annotations", "message"),
    [
        (
            {"test-burns": [Segment("fier", 8, 24)]},
            r"test-burns is annotated with 'fier', .* expected one of fire",
        ),
        ({"test-calm": [Segment("fire", 8, 24)]}, "test-calm"),
    ],
)
def test_annotations_that_the_evaluation_refuses(
    footage: Path, tmp_path: Path, annotations: dict[str, list[Segment]], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_run(run_of(footage, tmp_path / "ws", annotations=annotations))


def test_annotations_beyond_the_video_are_refused_before_the_training(
    footage: Path, extracted: Path, tmp_path: Path
) -> None:
    run = run_of(footage, tmp_path / "ws", annotations={"test-burns": [Segment("fire", 900, 950)]})
    check_run(run)  # the number of frames is not known yet
    shutil.copytree(extracted / "features", run.workspace.features)
    with pytest.raises(InputError, match="test-burns: segment fire 900-950 is outside the 32 frames"):
        check_frames(run)
    check_frames(Run.load(extracted))


def test_a_class_of_the_test_split_alone_is_a_warning(
    footage: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = run_of(footage, tmp_path / "ws", change=relabelled("test-burns", "riot"), annotations={})
    check_run(run)
    with caplog.at_level(logging.WARNING):
        warn_of_unlearned_classes(run)
    assert caplog.messages[0].startswith("no training video has the label riot, which test videos have")
    caplog.clear()
    warn_of_unlearned_classes(run_of(footage, tmp_path / "ws"))
    assert caplog.messages == []


def test_a_run_is_refused_before_anything_is_extracted(footage: Path, tmp_path: Path, dsanet: Dsanet) -> None:
    run_of(footage, tmp_path / "ws", annotations={"test-burns": [Segment("fier", 8, 24)]})
    code, _, err = dsanet(*run_arguments(tmp_path / "ws" / "m.csv", tmp_path / "ws"))
    assert code == 2
    assert "annotated with 'fier'" in err.splitlines()[-1]
    assert not (tmp_path / "ws" / "features").exists()


@pytest.fixture
def gone(footage: Path, extracted: Path, tmp_path: Path) -> Run:
    """A run whose features exist and whose videos are gone."""
    shutil.copytree(footage.parent, tmp_path / "clips")
    shutil.copytree(extracted, tmp_path / "ws")
    configure_workspace(tmp_path / "ws", tmp_path / "clips" / "manifest.csv")
    for video in (tmp_path / "clips").glob("*.mp4"):
        video.unlink()
    return Run.load(tmp_path / "ws")


def test_features_of_videos_that_are_gone_are_used(gone: Run, extracted: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in gone.workspace.features.glob("*.h5")}
    assert len(before) == 4
    check_run(gone)
    assert EXTRACT.work(gone) == "4 videos, 4 of them reused"
    assert TRAIN.work(gone).startswith("2 videos")
    assert before == {path.name: path.stat().st_mtime_ns for path in gone.workspace.features.glob("*.h5")}
    assert EXTRACT.cache_key(gone) == EXTRACT.cache_key(Run.load(extracted))


def test_a_video_with_neither_file_nor_features_is_refused_by_the_extraction_alone(gone: Run) -> None:
    (gone.workspace.features / "test-calm.h5").unlink()
    with pytest.raises(
        InputError, match=r"manifest\.csv, line 4: no file at .*test-calm\.mp4; correct the path"
    ):
        check_run(gone)
    with pytest.raises(InputError, match="line 4: no file at"):
        EXTRACT.cache_key(gone)
    assert TRAIN.work(gone).startswith("2 videos")


def test_features_with_other_settings_need_the_video(gone: Run) -> None:
    settings = gone.config.extract.model_copy(update={"snippet_length": 8})
    with pytest.raises(MissingFileError, match="4 videos are gone whose features must be extracted again"):
        EXTRACT.work(gone.with_config(extract=settings))
    assert len(list(gone.workspace.features.glob("*.h5"))) == 4
