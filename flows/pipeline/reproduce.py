"""`dsanet reproduce`: the published experiments on published features, from lists to figures.

The workspace gets features/, model/, scores/ and report/ as after a run. With the authors' weights, model/
holds them. Otherwise a detector is trained by the published recipe on all training videos: model/ has the
weights of the last update, chosen by nothing, and published-selection/ those that are best on the test set,
with scores and a report of their own. Further seeds are in seeds/N/, each like the workspace.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, Literal

from dsanet.checkpoint import INFO_FILE, import_weights
from dsanet.detectors.config import TextConfig
from dsanet.released_features import ImportedFeatures
from dsanet.released_weights import FORMATS
from evaluate.report.files import METRICS_FILE
from evaluate.report.metrics_file import read_metrics
from extract.display import shortened
from extract.errors import InputError, MissingFileError
from extract.weights import require_weights
from flows.pipeline.published_selection import PublishedSelection
from flows.pipeline.stages import EVALUATE, INFER, TRAIN
from flows.pipeline.stages.train import check_detector, train_detector
from flows.workspace.annotations_file import add_annotations
from flows.workspace.config import PipelineConfig, override, preset_config, with_detector
from flows.workspace.datasets import Dataset, dataset, read_official_annotations
from flows.workspace.feature_import import import_into_workspace, imported_videos
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace, WorkspaceInputs

log = logging.getLogger(__name__)

SELECTED = "published-selection"
"""Folder of the checkpoint that is selected on the test set."""


@dataclass(frozen=True)
class Experiment:
    """What `dsanet reproduce` was asked for."""

    dataset: str
    """`ucf-crime` or `xd-violence`."""
    features: Path
    """Folder of the published arrays, in any subfolders."""
    lists: Path
    """Folder of the published lists and annotations."""
    weights: Path | None = None
    """The authors' weights; None: train."""
    detector: str = "dsanet"
    seeds: int = 1
    skip_missing: bool = False
    """Go on without the videos whose arrays are missing or invalid."""
    settings: Sequence[str] = ()
    """`key.path=value`, applied last."""


@dataclass(frozen=True)
class ReproducedFigure:
    """One figure by each selection, in percent; the mean over the seeds, and their standard deviation."""

    figure: str
    ours: dict[str, tuple[float, float | None] | None]
    """By the title of the selection."""
    paper: float | None
    reported: Sequence[dict[str, Any]]
    note: str


@dataclass(frozen=True)
class Reproduction:
    """The outcome of `reproduce`."""

    figures: list[ReproducedFigure]
    reports: dict[str, list[Path]]
    """Report folders by the title of the selection, one for each seed."""
    notes: list[str]


def reproduce(
    experiment: Experiment, out: Path, on_progress: Callable[[int, int], None] | None = None
) -> Reproduction:
    """Run an experiment in the workspace `out`; finished parts of an earlier call are not repeated.

    Raises MissingFileError and InputError for whatever is missing or does not fit, before it computes.
    """
    found = dataset(experiment.dataset)
    config = _config(experiment)
    lists = _lists(experiment, found)
    annotations, annotations_note = read_official_annotations(experiment.dataset, experiment.lists)
    workspace, title = Workspace(out), _title(experiment, found)
    _check(experiment, config, workspace, title)
    with workspace.locked():
        if experiment.weights is not None:
            import_weights(experiment.weights, experiment.dataset, workspace.model, experiment.detector)
        imported = import_into_workspace(
            workspace,
            experiment.features,
            lists,
            missing="skip" if experiment.skip_missing else "raise",
            on_progress=on_progress,
        )
        videos = imported_videos(workspace, imported)
        inputs = WorkspaceInputs(
            manifest=imported.manifest,
            annotations=add_annotations(imported.manifest, videos, annotations),
            config=config,
            title=title,
        )
        reports = _run(experiment, Run(workspace, workspace.write_inputs(inputs)))
    notes = [note for note in (annotations_note, _missing_note(imported)) if note]
    return Reproduction(_figures(reports), reports, notes)


def _config(experiment: Experiment) -> PipelineConfig:
    """The published recipe: the preset of the data set with what the authors' release does differently."""
    if experiment.detector not in FORMATS:
        raise InputError(
            f"no published experiment with {experiment.detector!r}; expected {' or '.join(FORMATS)}"
        )
    config = with_detector(preset_config(experiment.dataset), experiment.detector)
    released = [
        f"model.{key}={str(value).lower()}" for key, value in FORMATS[experiment.detector].settings.items()
    ]
    if experiment.detector == "dsanet":
        released.append("train.optimizer=release-pair")
    settings = [*released, "train.select_on=none", f"evaluate.dataset={experiment.dataset}"]
    return override(config, [*settings, *experiment.settings])


def _check(experiment: Experiment, config: PipelineConfig, workspace: Workspace, title: str) -> None:
    """Raise InputError for what can be refused before anything is written."""
    if not experiment.features.is_dir():
        raise MissingFileError(
            f"no folder {experiment.features}; expected the published arrays in and below it"
        )
    if experiment.weights is None:
        if isinstance(config.model, TextConfig):
            require_weights(config.model.clip_weights)
    elif not experiment.weights.is_file():
        raise MissingFileError(f"no weights at {experiment.weights}; give the authors' .pth file")
    elif experiment.seeds > 1:
        raise InputError("several seeds are for trainings; leave out --weights, or --seeds")
    if workspace.inputs_file.is_file() and (there := workspace.read_inputs().title) != title:
        raise InputError(f"{workspace.name} holds another experiment ({there}); give another --out")


def _lists(experiment: Experiment, found: Dataset) -> list[Path]:
    """The test list, and the training list unless there are weights."""
    names = [found.test_list] if experiment.weights else [found.train_list, found.test_list]
    for name in names:
        if not (experiment.lists / name).is_file():
            raise MissingFileError(
                f"no {name} in {experiment.lists}; expected the lists of the published features"
            )
    return [experiment.lists / name for name in names]


def _title(experiment: Experiment, found: Dataset) -> str:
    origin = "the authors' weights" if experiment.weights else "trained anew"
    return f"{found.title}: {experiment.detector}, {origin}"


def _missing_note(imported: ImportedFeatures) -> str:
    if not imported.missing:
        return ""
    total = len(imported.imported) + len(imported.missing)
    names = shortened(imported.missing)
    return f"{len(imported.missing)} of {total} listed videos lack valid arrays and are left out: {names}"


def _run(experiment: Experiment, run: Run) -> dict[str, list[Path]]:
    """Scores and reports of all seeds; the report folders by the title of the selection."""
    if experiment.weights is not None:
        return {"ours": [_evaluated(run)]}
    check_detector(run)
    reports: dict[str, list[Path]] = {"last update": [], "best on the test set": []}
    for seed in range(experiment.seeds):
        seeded = _seeded(run, seed)
        selected = _trained(seeded, experiment.dataset)
        reports["last update"].append(_evaluated(seeded))
        reports["best on the test set"].append(_evaluated(selected))
    return reports


def _seeded(run: Run, seed: int) -> Run:
    """The run of a seed: the first in the workspace itself, the others in `seeds/N/`, same features."""
    first = run.config.train.seed
    return run if seed == 0 else _sub_run(run, f"seeds/{first + seed}", [f"train.seed={first + seed}"])


def _sub_run(run: Run, folder: str, settings: Sequence[str] = ()) -> Run:
    workspace = run.workspace.part(folder)
    title = f"{run.inputs.title}, {folder.replace('/', ' ').replace('-', ' ')}"
    inputs = run.inputs.model_copy(update={"config": override(run.config, settings), "title": title})
    return replace(run, workspace=workspace, inputs=inputs)


def _trained(run: Run, name: str) -> Run:
    """Train; returns the run of the checkpoint that is selected on the test set."""
    figure: Literal["auc", "ap"] = "auc" if name == "ucf-crime" else "ap"
    selected = _sub_run(run, SELECTED)
    key = TRAIN.cache_key(run)
    assert key is not None, "the features of the training are read"
    selection = PublishedSelection(run, selected.workspace.model, figure, key)
    if selection.best is None:
        # A finished training would not be repeated, and nothing could be selected.
        (run.workspace.model / INFO_FILE).unlink(missing_ok=True)
    log.info("%-9s %s", "train", train_detector(run, selection))
    return selected


def _evaluated(run: Run) -> Path:
    log.info("%-9s %s", "infer", INFER.work(run))
    log.info("%-9s %s", "evaluate", EVALUATE.work(run))
    run.workspace.synchronise()
    return run.workspace.report


def _figures(reports: dict[str, list[Path]]) -> list[ReproducedFigure]:
    metrics = {
        title: [read_metrics(folder / METRICS_FILE)["published"] for folder in folders]
        for title, folders in reports.items()
    }
    first = next(iter(metrics.values()))[0]
    return [
        ReproducedFigure(
            row["figure"],
            {title: _spread([rows[index]["ours"] for rows in found]) for title, found in metrics.items()},
            row["paper"],
            row["reported"],
            row["note"],
        )
        for index, row in enumerate(first)
    ]


def _spread(values: Sequence[float | None]) -> tuple[float, float | None] | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return mean(known), stdev(known) if len(known) > 1 else None
