"""Train a detector without a workspace, alone or as one of the processes of torchrun.

With torchrun each process computes a part of every batch on a device of its own; they may be on several
machines. The first process (rank 0) writes the model folder.
"""

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ValidationError

from dsanet.detectors.config import PRESETS, Preset, TrainConfig
from dsanet.detectors.registry import DEFAULT, DETECTORS, config_class, detector_preset
from dsanet.training.group import FirstProcessError, joined_group, lost_connection, share_cores
from dsanet.training.loop import NonFiniteLossError, TrainProgress
from dsanet.training.plan import Plan, make_plan
from dsanet.training.run import is_done, run_training
from extract.encoder import cuda_cards, resolve_device
from extract.errors import InputError, MissingFileError
from extract.manifest import read_manifest
from extract.remote.path import as_path

EXAMPLES = """\
examples:
  one process:
    python -m dsanet.training --manifest videos.csv --features ws/features --out ws/model
  every card of this machine, the settings of a workspace, of which `dsanet run` then takes the model:
    torchrun --standalone --nproc-per-node gpu -m dsanet.training \\
        --manifest videos.csv --features ws/features --out ws/model --settings ws/workspace.json
  two machines, the same command on both (the features must be on both, and be the same):
    torchrun --nnodes 2 --nproc-per-node gpu --rdzv-backend c10d --rdzv-endpoint first-machine:29400 \\
        --max-restarts 3 -m dsanet.training --manifest videos.csv --features features --out model

A training that was ended continues from its last saved state, also with another number of processes.
"""
_SECONDS_BETWEEN_LINES = 10.0


Model = TypeVar("Model", bound=BaseModel)


class _WorkspaceTrainConfig(TrainConfig):
    """`train` of a workspace, so that both tell the same training by the same digest."""

    init: Literal["scratch", "champion"] = "scratch"


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0; 2 for input that cannot be used, which is reported in one line; 1 for a lost process.

    A process of torchrun reports an error of all processes only if it is the first one.
    """
    options = training_parser().parse_args(arguments)
    size, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", 1), ("RANK", 0)))
    logging.basicConfig(level=logging.WARNING if rank else logging.INFO, format="%(message)s")
    try:
        if size > 1:
            _train_in_group(options, rank, size)
        else:
            _train_alone(options)
    except InputError as error:
        if rank == 0 or not isinstance(error, FirstProcessError | NonFiniteLossError):
            print(f"dsanet.training{f' (process {rank})' if rank else ''}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except RuntimeError as error:
        if not lost_connection(error):
            raise
        print(f"dsanet.training (process {rank}): the connection to another process ended", file=sys.stderr)
        return 1
    return 0


def _train_alone(options: argparse.Namespace) -> None:
    plan = own_plan(options)
    if not is_done(plan):
        run_training(plan, resolve_device(options.device), _progress())


def _train_in_group(options: argparse.Namespace, rank: int, size: int) -> None:
    """Train as one of the processes that torchrun has started."""
    if missing := [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
        raise InputError(
            f"WORLD_SIZE is {size} and {missing[0]} is not set; start the processes with torchrun"
        )
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends a process also while it waits for another one
    on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", size))
    device = _own_device(options.device, int(os.environ.get("LOCAL_RANK", rank)))
    share_cores(device, on_machine)
    with joined_group(device, rank, size, on_machine, "env://") as group:
        plan = group.from_first(lambda: own_plan(options)).with_folders(options.features, options.out)
        if not group.from_first(lambda: is_done(plan)):
            run_training(plan, device, _progress(), None, group)


def _own_device(setting: str, number: int) -> torch.device:
    """The device of process `number` on this machine."""
    if setting not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {setting} is one device, and each process has its own; give cpu or cuda")
    cards = cuda_cards()
    if setting == "cpu" or (setting == "auto" and cards == 0):
        return torch.device("cpu")
    if number >= cards:
        raise InputError(
            f"process {number} of this machine has no card, {cards} can be used; give torchrun "
            f"--nproc-per-node {max(cards, 1)}, or --device cpu"
        )
    return torch.device("cuda", number)


def own_plan(options: argparse.Namespace) -> Plan:
    """The training that the options describe."""
    settings = _settings(options)
    records = read_manifest(options.manifest, needs_no_file=lambda record: True)
    return make_plan(records, options.features, options.out, *settings, start_from=options.start_from)


def _settings(options: argparse.Namespace) -> Preset:
    """The settings of the detector and of the training, from a file or a preset, with those of `--set`."""
    given = _read_settings(options.settings) if options.settings else {}
    if given and (options.detector or options.preset):
        raise InputError("--settings has all settings; leave out --detector and --preset, or --settings")
    detector = options.detector or given.get("model", {}).get("detector", DEFAULT)
    preset = options.preset or given.get("preset", PRESETS[0])
    if preset not in PRESETS:
        raise InputError(
            f"{options.settings}: unknown preset {preset!r}; expected one of {', '.join(PRESETS)}"
        )
    defaults = detector_preset(detector, preset)
    values = {
        section: settings.model_dump() | given.get(section, {})
        for section, settings in defaults._asdict().items()
    }
    for assignment in options.set:
        _assign(values, assignment)
    if "detector" in values["model"] and values["model"]["detector"] != detector:
        raise InputError("model.detector cannot be set alone; give --detector")
    train = _WorkspaceTrainConfig if "init" in values["train"] else TrainConfig
    return Preset(
        _valid(config_class(detector), "model", values["model"]),
        _valid(train, "train", values["train"]),
        _valid(type(defaults.infer), "infer", values["infer"]),
    )


def _read_settings(path: Path) -> dict[str, Any]:
    """The sections of a settings file, or of the configuration in a `workspace.json`."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingFileError(f"{path} does not exist; give a workspace.json or a JSON file") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no JSON file ({error}); give a workspace.json, or none") from None
    sections = content.get("config", content) if isinstance(content, dict) else None
    if not isinstance(sections, dict) or not all(
        isinstance(sections.get(name, {}), dict) for name in Preset._fields
    ):
        raise InputError(f'{path} has no settings; expected {{"model": {{…}}, "train": {{…}}}}')
    return sections


def _assign(values: dict[str, dict[str, Any]], assignment: str) -> None:
    path, separator, text = assignment.partition("=")
    section, _, key = path.strip().partition(".")
    if not separator or section not in values or not key:
        raise InputError(
            f"--set {assignment} is no setting of the training; expected SECTION.KEY=VALUE with a section of "
            f"{', '.join(values)}, for example train.epochs=3"
        )
    try:
        values[section][key] = json.loads(text)
    except ValueError:
        values[section][key] = text


def _valid(model: type[Model], section: str, values: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join((section, *map(str, first["loc"])))
        raise InputError(f"{where}: {first['msg']}") from None


def _progress() -> Callable[[TrainProgress], None]:
    """Prints a line about the progress now and then, and at the end."""
    printed = time.monotonic()

    def show(progress: TrainProgress) -> None:
        nonlocal printed
        if progress.step == progress.steps or time.monotonic() > printed + _SECONDS_BETWEEN_LINES:
            printed = time.monotonic()
            print(
                f"epoch {progress.epoch}/{progress.epochs}, step {progress.step}/{progress.steps}, "
                f"loss {progress.losses['total']:.4f}",
                flush=True,
            )

    return show


def training_parser() -> argparse.ArgumentParser:
    """The parser of `python -m dsanet.training`."""
    parser = argparse.ArgumentParser(
        "python -m dsanet.training",
        description=__doc__,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--manifest",
        type=as_path,
        required=True,
        metavar="FILE",
        help="CSV with path, labels and split of the videos; the videos themselves are not read",
    )
    parser.add_argument(
        "--features",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder with the feature files, NAME.h5 for every video of the splits train and val",
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="model folder, and the state of the training"
    )
    parser.add_argument(
        "--settings",
        type=Path,
        metavar="FILE",
        help="workspace.json, or JSON with the sections model, train and infer",
    )
    for name, choices, default in (
        ("--detector", sorted(DETECTORS), DEFAULT),
        ("--preset", PRESETS, PRESETS[0]),
    ):
        parser.add_argument(name, choices=choices, help=f"without --settings (default: {default})")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for example train.epochs=3; repeatable",
    )
    parser.add_argument(
        "--start-from", type=Path, metavar="DIR", help="checkpoint whose weights the training starts from"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="auto (default), cpu, cuda or cuda:1; with torchrun each process takes the card of its number",
    )
    return parser


if __name__ == "__main__":
    code = main()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # an orderly end could wait for the other processes
    sys.exit(code)
