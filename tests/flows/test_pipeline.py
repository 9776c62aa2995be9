"""The pipeline end to end: real clips, CLIP with random weights, DSANet, scores, report.

Nothing is mocked; snippets of 64 frames and one epoch keep it short.
"""

import doctest
import inspect
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path

import joblib
import pytest
import torch

from dsanet.checkpoint import read_info
from dsanet.inference import Scorer
from evaluate.predictions import anomalous_intervals
from extract import remembered
from extract.config import ExtractConfig
from extract.errors import InputError, MissingFileError
from extract.failures import read_failures
from extract.labels import NORMAL
from extract.manifest import read_manifest, write_manifest
from flows.pipeline import bench, score
from flows.pipeline.cache import StageResult
from flows.pipeline.prefect_flows import evaluate, extract, extract_train_eval, infer, train
from flows.pipeline.score import score_videos
from flows.pipeline.stages import device
from flows.workspace.config import preset_config
from flows.workspace.inputs import Source, configure_workspace
from flows.workspace.locks import BusyError, file_lock
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace
from tests.flows.tiny import SETTINGS


@pytest.fixture(scope="module")
def finished(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace after a whole run."""
    root = tmp_path_factory.mktemp("workspace")
    configure_workspace(root, footage, preset="small", weights="random", settings=SETTINGS)
    extract_train_eval(root)
    return Workspace(root)


def test_a_run_writes_features_model_scores_metrics_and_report(finished: Workspace, footage: Path) -> None:
    records = read_manifest(footage)
    assert {path.stem for path in finished.features.glob("*.h5")} == {record.name for record in records}
    tests = {record.name for record in records if record.split == "test"}
    assert {path.stem for path in finished.scores.glob("*.h5")} == tests
    metrics = json.loads((finished.report / "metrics.json").read_text())
    assert all(0 <= metrics[key] <= 1 for key in ("auc", "ap", "anomaly_auc", "far"))
    assert any("random CLIP weights" in note for note in metrics["notes"])
    page = (finished.report / "index.html").read_text()
    assert all(name in page for name in tests)
    assert "random CLIP weights" in page


def test_refresh_runs_a_stage_and_the_same_inputs_give_the_same_bytes(finished: Workspace) -> None:
    weights = (finished.model / "model.safetensors").read_bytes()
    info = (finished.model / "model.json").read_text()
    (finished.model / "model.json").unlink()
    result = train(finished.root, refresh=True)
    assert isinstance(result, StageResult)
    assert (finished.model / "model.safetensors").read_bytes() == weights
    assert (finished.model / "model.json").read_text() == info


def test_videos_with_names_that_are_not_utf_8_are_scored_under_printable_names(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    latin_1, clip = os.fsdecode(b"caf\xe9"), read_manifest(footage)[0].path
    folder = tmp_path / latin_1
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this file system has UTF-8 names only")
    good = [tmp_path / "yard [b].mp4", tmp_path / f"{latin_1}.mp4", folder / "cam.mp4"]
    for path in good:
        shutil.copy(clip, path)
    (folder / f"{latin_1}.mp4").write_bytes(b"no video")
    videos = [*good, folder / f"{latin_1}.mp4"]
    result = score_videos(videos, finished.root, tmp_path / "scored", threshold=0.0)
    assert [video.scores.name for video in result.videos] == ["yard [b]", "caf_xe9", "cam"]
    (failure,) = read_failures(tmp_path / "scored" / "features")
    assert failure.name == "caf_xe9-2"
    assert str(failure.path).endswith(r"caf\xe9/caf\xe9.mp4")
    rows = (tmp_path / "scored" / "intervals.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["yard [b]", "caf_xe9", "cam"]


def test_score_videos_writes_intervals_and_a_timeline(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    clip = next(r.path for r in read_manifest(footage) if r.split == "test" and r.labels != (NORMAL,))
    result = score_videos([clip], finished.root, tmp_path, threshold=0.0)
    (video,) = result.videos
    assert result.failures == []
    assert any("random CLIP weights" in note for note in result.notes)
    (interval,) = video.intervals  # every snippet passes a threshold of 0
    assert (interval.start_frame, interval.end_frame) == (0, video.scores.n_frames)
    assert interval.label in video.scores.classes[1:]
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    header, row = (tmp_path / "intervals.csv").read_text().splitlines()
    assert header == "video,start_s,end_s,start_frame,end_frame,class,score"
    assert row.startswith(f"{clip.stem},0.00,")
    peak = float(video.scores.anomaly_T.max())
    lasting = score_videos([clip], finished.root, tmp_path, threshold=peak, release=0.01).videos[0]
    assert lasting.intervals == anomalous_intervals(video.scores, peak, release=0.01)
    assert lasting.intervals[-1].end_frame == video.scores.n_frames  # no score is below 0.01 of the peak


def test_torch_has_no_more_threads_than_the_processors_that_may_be_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """LOKY_MAX_CPU_COUNT takes the place of a container's quota, which a test cannot set."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(joblib.cpu_count())
        with device.device_in_use("cpu"):
            assert torch.get_num_threads() == joblib.cpu_count()
        torch.set_num_threads(2)
        monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "1")
        with device.device_in_use("cpu"):
            assert torch.get_num_threads() == 1
        torch.set_num_threads(2)
        monkeypatch.setenv("OMP_NUM_THREADS", "2")
        with device.device_in_use("cpu"):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_score_and_bench_hold_the_lock_of_their_device(
    finished: Workspace, footage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The CPU has no lock of its own, so the test gives it one."""

    def device_lock(name: str) -> AbstractContextManager[None]:
        return file_lock(tmp_path / f"{name}.lock", name)

    def locked(compute: Callable[..., object]) -> Callable[..., object]:
        def checked(*args: object, **kwargs: object) -> object:
            with pytest.raises(BusyError), device_lock("cpu"):
                raise AssertionError("the device is not locked")
            computed.append(compute.__name__)
            return compute(*args, **kwargs)

        return checked

    computed: list[str] = []
    for name in ("load_encoder", "extract_videos", "infer"):
        monkeypatch.setattr(score, name, locked(getattr(score, name)))
    monkeypatch.setattr(bench, "load_checkpoint", locked(bench.load_checkpoint))
    monkeypatch.setattr(device, "gpu_lock", device_lock)
    monkeypatch.setattr(Scorer, "score", locked(Scorer.score))
    clip = read_manifest(footage)[0].path
    score_videos([clip], finished.root, tmp_path / "scored", threshold=0.5)
    bench.measure_speed(Run.load(finished.root))
    expected = ["load_encoder", "extract_videos", "infer", "score", "load_checkpoint"]
    assert computed == [*expected, *["score"] * bench.TIMED_PASSES]


@pytest.mark.parametrize(
    "function", [score_videos, extract_train_eval], ids=lambda function: function.__name__
)
def test_the_examples_of_the_public_api_run(
    function: Callable[..., object],
    finished: Workspace,
    footage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(finished.root, "workspace")
    shutil.copy(read_manifest(footage)[0].path, "video.mp4")
    example = doctest.DocTestParser().get_doctest(inspect.getdoc(function) or "", {}, "example", None, None)
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0


def test_videos_of_the_same_name_get_distinct_names(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    clip = read_manifest(footage)[0].path
    paths = [tmp_path / "one" / "cam.mp4", tmp_path / "two" / "cam.mp4", tmp_path / "three" / "cam-2.mp4"]
    for path in paths:
        path.parent.mkdir()
        shutil.copy(clip, path)
    result = score_videos(paths, finished.root, tmp_path / "out", threshold=0.5)
    assert [video.scores.name for video in result.videos] == ["cam", "cam-2", "cam-2-2"]


def test_names_that_no_result_file_can_have_are_changed(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    clip = read_manifest(footage)[0].path
    paths = [tmp_path / name for name in (".hidden.mp4", "hidden.mp4", "a\\b.mp4", "....mp4")]
    for path in paths:
        shutil.copy(clip, path)
    result = score_videos([*paths, paths[1]], finished.root, tmp_path / "out", threshold=0.5)
    assert [video.scores.name for video in result.videos] == ["hidden", "hidden-2", "a_b", "video"]


def test_scoring_is_refused_before_a_video_is_decoded(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    clip, out = read_manifest(footage)[0].path, tmp_path / "out"
    with pytest.raises(MissingFileError, match=r"no video at none\.mp4 \(and at 1 more of the paths\)"):
        score_videos([clip, Path("none.mp4"), tmp_path], finished.root, out, threshold=0.5)

    shutil.copytree(finished.model, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-7])
    with pytest.raises(InputError, match=r"model\.safetensors"):
        score_videos([clip], tmp_path / "damaged", out, threshold=0.5)

    shutil.copytree(finished.model, tmp_path / "other")
    info = (tmp_path / "other" / "model.json").read_text()
    digest = read_info(finished.model).encoder.weights_digest
    (tmp_path / "other" / "model.json").write_text(info.replace(digest, "0" * 64))
    with pytest.raises(InputError, match=r"trained on features of the CLIP weights 000.*random is random-"):
        score_videos([clip], tmp_path / "other", out, threshold=0.5)
    assert not out.exists()


def test_infer_rejects_labels_that_the_checkpoint_lacks(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    renamed = [
        type(r)(r.name, r.path, ("normal",) if NORMAL in r.labels else ("theft",), r.split)
        for r in read_manifest(footage)
    ]
    write_manifest(tmp_path / "other.csv", renamed)
    manifest = finished.inputs_file.read_text()
    try:
        configure_workspace(finished.root, tmp_path / "other.csv")
        with pytest.raises(ValueError, match=r"labels theft, which are not classes of the checkpoint in "):
            infer(finished.root)
    finally:
        finished.inputs_file.write_text(manifest)


def test_an_unreadable_video_is_skipped_and_listed(
    finished: Workspace, footage: Path, tmp_path: Path
) -> None:
    records = read_manifest(footage)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video" * 100)
    write_manifest(tmp_path / "m.csv", [*records, type(records[0])("broken", broken, ("fire",), "test")])
    configure_workspace(
        tmp_path / "ws", tmp_path / "m.csv", preset="small", weights="random", settings=SETTINGS
    )
    shutil.copytree(finished.features, tmp_path / "ws" / "features")  # spares encoding the other videos again
    extract_train_eval(tmp_path / "ws")
    workspace = Workspace(tmp_path / "ws")
    failures = (workspace.features / "failures.csv").read_text()
    assert "broken" in failures
    assert "broken" in " ".join(json.loads((workspace.report / "metrics.json").read_text())["notes"])


def test_a_stage_begins_a_workspace_from_footage_and_settings(footage: Path, tmp_path: Path) -> None:
    settings = ExtractConfig(weights="random", snippet_length=64)
    extract(tmp_path / "new", Source(manifest=footage), settings)
    workspace = Workspace(tmp_path / "new")
    assert len(list(workspace.features.glob("*.h5"))) == len(read_manifest(footage))
    assert workspace.read_inputs().config == preset_config("ucf-crime").model_copy(
        update={"extract": settings}
    )


@pytest.mark.parametrize("flow", [extract_train_eval, evaluate], ids=lambda flow: flow.name)
def test_a_workspace_that_does_not_exist_is_refused_and_not_created(
    flow: Callable[..., object], tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match="is not a workspace"):
        flow(tmp_path / "absent")
    if flow is extract_train_eval:
        with pytest.raises(FileNotFoundError, match=r"no file .*absent\.csv"):
            flow(tmp_path / "absent", Source(manifest=tmp_path / "absent.csv"))
    assert not (tmp_path / "absent").exists()


def test_evaluation_without_features_names_the_command_to_run(footage: Path, tmp_path: Path) -> None:
    configure_workspace(tmp_path, footage, preset="small", weights="random")
    with pytest.raises(FileNotFoundError, match="dsanet extract --out"):
        evaluate(tmp_path)


def test_only_the_failed_video_is_tried_again(finished: Workspace, footage: Path, tmp_path: Path) -> None:
    records = read_manifest(footage)
    late = tmp_path / "late.mp4"
    late.write_bytes(b"still being copied")
    write_manifest(tmp_path / "m.csv", [*records, type(records[0])("late", late, ("fire",), "test")])
    configure_workspace(
        tmp_path / "ws", tmp_path / "m.csv", preset="small", weights="random", settings=SETTINGS
    )
    shutil.copytree(finished.features, tmp_path / "ws" / "features")
    workspace = Workspace(tmp_path / "ws")
    extract(workspace.root)
    assert not (workspace.features / "late.h5").exists()
    before = {path: path.stat().st_mtime_ns for path in workspace.features.glob("*.h5")}
    shutil.copy(records[-1].path, late)
    extract(workspace.root)
    assert (workspace.features / "late.h5").exists()
    assert not (workspace.features / "failures.csv").exists()
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())


def test_optional_settings_add_the_papers_figures(finished: Workspace) -> None:
    asked = ["infer.learned_features=true", "infer.normal_distance=true", "evaluate.tsne=true"]
    configure_workspace(finished.root, settings=asked)
    infer(finished.root)
    evaluate(finished.root)
    page = (finished.report / "index.html").read_text()
    assert "t-SNE" in page
    assert json.loads((finished.report / "metrics.json").read_text())["normal_distance"] is not None


def workspace_with_a_bad_video(finished: Workspace, footage: Path, folder: Path) -> tuple[Workspace, Path]:
    """A workspace whose features are there, except for those of `bad`, which is no video."""
    records, bad = read_manifest(footage), folder / "bad.mp4"
    bad.write_bytes(b"no video" * 99)
    write_manifest(folder / "m.csv", [*records, type(records[0])("bad", bad, ("fire",), "test")])
    configure_workspace(folder / "ws", folder / "m.csv", preset="small", weights="random", settings=SETTINGS)
    shutil.copytree(finished.features, folder / "ws" / "features")
    return Workspace(folder / "ws"), bad


def attempts(workspace: Workspace) -> int:
    (failure,) = read_failures(workspace.features)
    return failure.attempts


def test_a_known_failure_does_not_keep_the_extraction_from_being_cached(
    finished: Workspace,
    footage: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    workspace, bad = workspace_with_a_bad_video(finished, footage, tmp_path)
    caplog.set_level("INFO", logger="flows")
    first = extract(workspace.root)
    note = r"1 videos could not be read and are tried again when they change, or from .* UTC on; --retry"
    assert re.search(note, caplog.text)
    caplog.clear()
    assert extract(workspace.root) == first
    assert "1 failed (features/failures.csv) (Cached)" in caplog.text
    assert re.search(note, caplog.text)
    assert attempts(workspace) == 1
    extract(workspace.root, retry=True)
    assert attempts(workspace) == 2
    later = remembered.now() + timedelta(hours=2)
    with monkeypatch.context() as patch:
        patch.setattr(remembered, "now", lambda: later)
        extract(workspace.root)
    assert attempts(workspace) == 3
    shutil.copy(read_manifest(footage)[-1].path, bad)
    healed = extract(workspace.root)
    assert healed.digest not in (None, first.digest)
    assert read_failures(workspace.features) == []
    assert (workspace.features / "bad.h5").is_file()
