"""Training on several devices: two CPU processes have the gradients, losses and results of one."""

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
from torch import nn

from dsanet.checkpoint import DRAFT, INFO_FILE, load_checkpoint
from dsanet.detectors.base import Detector
from dsanet.detectors.config import TrainConfig
from dsanet.detectors.registry import detector_preset
from dsanet.training.__main__ import main, own_plan, training_parser
from dsanet.training.bag_file import BagFile
from dsanet.training.devices import training_devices
from dsanet.training.plan import make_plan
from dsanet.training.split_step import require_splittable
from dsanet.training.train import train
from extract.errors import InputError
from flows.workspace.config import preset_config, with_detector
from tests.child_processes import children_running
from tests.dsanet.helpers import Footage, make_footage, weights_of
from tests.dsanet.two_processes import CASES

ROOT = Path(__file__).parents[2]
MODEL = detector_preset("mil-ranking", "small").model
CONFIG = TrainConfig(epochs=3, batch_size=4, lr=2e-4, save_every=2)  # 12 + 12 videos less 4: 2 steps an epoch
TWO = ("cpu", "cpu")
DEVICE_PROCESS = "dsanet.training.device_process"


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Footage:
    return make_footage(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The results of `two_processes`."""
    folder = tmp_path_factory.mktemp("steps")
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.dsanet.two_processes", str(rank), str(folder)], cwd=ROOT
        )
        for rank in range(2)
    ]
    assert [process.wait(300) for process in processes] == [0, 0]
    results: dict[str, dict[str, Any]] = json.loads((folder / "results.json").read_text())
    return results


@pytest.mark.parametrize("case", CASES)
def test_two_processes_have_the_gradients_and_losses_of_the_whole_batch(
    case: str, steps: dict[str, dict[str, Any]]
) -> None:
    result = steps[case]
    assert result["gradients"] < 1e-4
    assert result["statistics"] < 1e-4
    assert result["same random state"]
    for got, expected in zip(result["losses"], result["expected"], strict=True):
        assert got == pytest.approx(expected, rel=2e-4, abs=1e-6)


class KilledError(Exception):
    pass


def rows(out: Path) -> list[dict[str, float]]:
    with (out / "curves.csv").open() as file:
        return [{key: float(value) for key, value in row.items() if value} for row in csv.DictReader(file)]


def begin(footage: Footage, out: Path, devices: tuple[str, ...], stop: Callable[[], None]) -> None:
    """Train until the end of step 4, when `stop` is called: before its state is saved."""

    def on_epoch(step: int, net: Detector) -> None:
        if step == 4:
            stop()

    train(footage.records, footage.features_dir, out, MODEL, CONFIG, devices=devices, on_epoch=on_epoch)


def kill_here() -> None:
    raise KilledError


def kill_a_process() -> None:
    children = children_running(DEVICE_PROCESS)
    assert len(children) == 2
    children[-1].send_signal(signal.SIGKILL)


@pytest.fixture(scope="module")
def whole(footage: Footage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training by one process."""
    out = tmp_path_factory.mktemp("whole")
    return train(footage.records, footage.features_dir, out, MODEL, CONFIG)


def assert_same_training(out: Path, whole: Path) -> None:
    assert not (out / DRAFT).exists()
    got, expected = rows(out), rows(whole)
    assert len(got) == 6
    for ours, theirs in zip(got, expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-5)
    metrics = [load_checkpoint(folder).info.metrics for folder in (out, whole)]
    assert metrics[0] == pytest.approx(metrics[1], rel=1e-5)
    for name, tensor in weights_of(whole).items():
        torch.testing.assert_close(weights_of(out)[name], tensor, rtol=1e-4, atol=1e-6)


def test_a_training_begun_by_two_of_which_one_is_killed_is_ended_by_one(
    footage: Footage, whole: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"of cpu was killed by SIGKILL.*; run the command again, it c"):
        begin(footage, tmp_path, TWO, kill_a_process)
    assert not children_running(DEVICE_PROCESS)
    assert not (tmp_path / INFO_FILE).exists()
    steps: list[int] = []
    train(
        footage.records,
        footage.features_dir,
        tmp_path,
        MODEL,
        CONFIG,
        on_progress=lambda progress: steps.append(progress.step),
    )
    assert steps == [3, 4, 5, 6]
    assert_same_training(tmp_path, whole)


def test_a_training_begun_by_one_is_ended_by_two(footage: Footage, whole: Path, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        begin(footage, tmp_path, (), kill_here)
    steps: list[int] = []
    epochs: list[tuple[int, str]] = []
    train(
        footage.records,
        footage.features_dir,
        tmp_path,
        MODEL,
        CONFIG,
        devices=TWO,
        on_progress=lambda progress: steps.append(progress.step),
        on_epoch=lambda step, net: epochs.append((step, net.config.detector)),
    )
    assert steps == [3, 4, 5, 6]
    assert epochs == [(4, "mil-ranking"), (6, "mil-ranking")]
    assert_same_training(tmp_path, whole)
    train(
        footage.records, footage.features_dir, tmp_path, MODEL, CONFIG, devices=TWO, on_progress=steps.append
    )
    assert len(steps) == 4, "a finished training is not repeated, and no process is started"


class TorchsDropout(Detector[Any]):
    def __init__(self) -> None:
        super().__init__(MODEL.model_copy(update={"classes": ("normal", "fire")}))
        self.part = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))


def test_a_detector_whose_layers_cannot_be_split_is_refused() -> None:
    with pytest.raises(InputError, match=r"mil-ranking cannot .* layer part\.1 is torch's Dropout; use"):
        require_splittable(TorchsDropout())
    net = TorchsDropout()
    net.part[1].p = 0.0
    require_splittable(net)
    net.part.append(nn.BatchNorm1d(2))
    with pytest.raises(InputError, match=r"part\.2 is torch's BatchNorm1d"):
        require_splittable(net)
    net.part = nn.TransformerEncoderLayer(4, 2, 4, 0.1)
    with pytest.raises(InputError, match=r"part\.self_attn is torch's MultiheadAttention"):
        require_splittable(net)


def test_each_card_trains_once_and_cpus_only_where_there_is_none() -> None:
    assert training_devices([]) == ()
    assert training_devices(["cuda:1", "cpu", "cuda:0", "cuda:1"]) == ("cuda:1", "cuda:0")
    assert training_devices(["cpu", "cpu"]) == TWO


def test_processes_of_one_machine_share_a_bag_file(tmp_path: Path) -> None:
    files = [BagFile(tmp_path / "bags", 6, 4, 512) for _ in range(2)]
    out = np.zeros((4, 512), np.float16)
    assert files[1].read(3, out) == 0
    files[0].slots(2).write([np.full((3, 512), value, np.float16) for value in (1, 2)])
    assert files[1].read(3, out) == 3
    assert (out[:3] == 2).all()
    assert files[1].read(4, out) == 0
    files[0].remove()
    assert files[1].read(2, out) == 0, "the entry is found no more"
    for file in files:
        file.close()


def write_manifest(footage: Footage, path: Path) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("path", "labels", "split", "name"))
        writer.writerows((r.path, "|".join(r.labels), r.split, r.name) for r in footage.records)
    return path


def arguments(footage: Footage, folder: Path, *more: str) -> list[str]:
    given = {"manifest": write_manifest(footage, folder / "videos.csv"), "features": footage.features_dir}
    named = [word for name, path in given.items() for word in (f"--{name}", str(path))]
    return [*named, "--out", str(folder / "model"), *more]


AS_CONFIG = ["--detector", "mil-ranking", "--preset", "small"]
for name in ("epochs", "batch_size", "lr", "save_every", "optimizer", "weight_decay"):
    AS_CONFIG += ["--set", f"train.{name}={getattr(CONFIG, name)}"]


def test_the_module_trains_alone_with_the_bytes_of_the_function(
    footage: Footage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(footage, tmp_path, *AS_CONFIG, "--device", "cpu")) == 0
    assert capsys.readouterr().out.startswith("epoch 3/3, step 6/6, loss ")
    info = load_checkpoint(tmp_path / "model").info
    infer = detector_preset("mil-ranking", "small").infer
    expected = train(
        footage.records, footage.features_dir, tmp_path / "expected", MODEL, info.train, infer=infer
    )
    for path in expected.iterdir():
        assert path.read_bytes() == (tmp_path / "model" / path.name).read_bytes()


def test_a_workspace_takes_over_what_the_module_has_trained_with_its_settings(
    footage: Footage, tmp_path: Path
) -> None:
    config = with_detector(preset_config("small"), "mil-ranking")
    settings = tmp_path / "workspace.json"
    settings.write_text(json.dumps({"title": "x", "config": json.loads(config.model_dump_json())}))
    options = training_parser().parse_args(arguments(footage, tmp_path, "--settings", str(settings)))
    plan = make_plan(footage.records, footage.features_dir, tmp_path, config.model, config.train)
    assert own_plan(options).run_id == plan.run_id


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ("--set", "train.epochs"),
            "--set train.epochs is no setting of the training; expected SECTION.",
        ),
        (("--set", "extract.crops=1"), "--set extract.crops=1 is no setting of the training"),
        (("--set", "train.epochs=none"), "train.epochs: Input should be a valid integer"),
        (("--set", "model.detector=vadclip"), "model.detector cannot be set alone; give --detector"),
        (("--settings", "missing.json"), "missing.json does not exist"),
        (("--device", "cuda:99"), "device cuda:99 can't be used"),
    ],
)
def test_arguments_that_cannot_be_used_are_named_in_one_line(
    given: tuple[str, ...],
    message: str,
    footage: Footage,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(arguments(footage, tmp_path, *given)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"dsanet.training: {message}")


def test_settings_files_that_are_none_are_refused(
    footage: Footage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tmp_path / "settings.json"
    for content, message in (
        ("{", "is no JSON file"),
        ("[1]", "has no settings"),
        ('{"model": 3}', "has no settings"),
        ('{"preset": "huge"}', "unknown preset 'huge'"),
        ('{"model": {"detector": "other"}}', "no detector 'other'"),
    ):
        settings.write_text(content)
        assert main(arguments(footage, tmp_path, "--settings", str(settings))) == 2
        assert message in capsys.readouterr().err
    settings.write_text('{"train": {"epochs": 1}}')
    assert main(arguments(footage, tmp_path, "--settings", str(settings), "--detector", "vadclip")) == 2
    assert "leave out --detector" in capsys.readouterr().err


def torchrun(footage: Footage, folder: Path, *more: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = arguments(footage, folder, *AS_CONFIG, "--device", "cpu", *more)
    return subprocess.Popen(
        [*command, "-m", "dsanet.training", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_torchrun_trains_and_reports_an_error_in_one_line_of_ours(
    footage: Footage, whole: Path, tmp_path: Path
) -> None:
    process = torchrun(footage, tmp_path)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert out.splitlines() == [f"epoch 3/3, step 6/6, loss {rows(whole)[-1]['total']:.4f}"]
    assert_same_training(tmp_path / "model", whole)

    process = torchrun(footage, tmp_path, "--set", "train.epochs=0")
    _, err = process.communicate(timeout=300)
    assert process.returncode != 0
    ours = [line for line in err.splitlines() if line.startswith("dsanet.training")]
    assert ours[0].startswith("dsanet.training: train.epochs: Input should be greater than or equal to 1")
    assert len([line for line in ours if ":" in line]) == 1


ENDLESS = """
import sys
from pathlib import Path
from tests.dsanet.test_several_devices import CONFIG, MODEL, TWO, make_footage, train
footage = make_footage(Path(sys.argv[1]))
config = CONFIG.model_copy(update={"epochs": 1_000_000})
train(footage.records, footage.features_dir, Path(sys.argv[2]), MODEL, config, devices=TWO,
      on_progress=lambda progress: print(progress.step, flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_the_processes_end_with_the_program_that_trains(number: signal.Signals, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", ENDLESS, str(tmp_path / "features"), str(tmp_path / "model")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "1\n"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) == 2
    process.send_signal(number)
    process.stdout.close()
    process.wait(10)
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive
