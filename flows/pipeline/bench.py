"""Detectors side by side: each trained, run and evaluated alike, on the same features and splits.

Features are extracted once, into the workspace. Below `bench/` each contestant has a folder a seed, with
what a workspace has (model/, scores/, report/) and, written last, `measured.json`: a run that is finished
and whose inputs are the same is not repeated, an interrupted training goes on where it was.
"""

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from dsanet.checkpoint import load_checkpoint, read_info
from dsanet.detectors.registry import DEFAULT, DETECTORS, config_of
from dsanet.inference import Scorer
from dsanet.training.resume import RESUME_FILE
from evaluate.report.standings import Contestant, Standing, standings, write_standings
from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.encoder import resolve_device
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.store import feature_path, read_features
from flows.pipeline.stages import EVALUATE, EXTRACT, INFER, TRAIN, read_truths
from flows.workspace.config import override, with_detector
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace, digest_of

log = logging.getLogger(__name__)

MEASURED_FILE = "measured.json"
TIMED_RUNS = 3


@dataclass(frozen=True)
class Entry:
    """A contestant: a detector, with some of its settings changed."""

    name: str
    detector: str
    changes: tuple[str, ...] = ()


TABLE_5 = (
    Entry("vadclip", "vadclip"),
    Entry("adapter", DEFAULT, ("model.normality=false", "model.disentangled_alignment=false")),
    Entry("adapter+sg-nm", DEFAULT, ("model.disentangled_alignment=false",)),
    Entry("adapter+dcsa", DEFAULT, ("model.normality=false",)),
    Entry("dsanet", DEFAULT),
)
TABLE_6 = (
    Entry("text-frozen", DEFAULT, ("model.text_tuning=frozen",)),
    Entry("text-manual", DEFAULT, ("model.text_tuning=manual",)),
    Entry("text-learned", DEFAULT, ("model.text_tuning=learned",)),
    Entry("dsanet", DEFAULT),
)
ABLATIONS = {"table5": TABLE_5, "table6": TABLE_6}
"""DSANet's ablations; its full model is the last row of both."""


class Measured(StrictModel):
    """What a run's files don't say: how long training took, how fast it scores. `key` names its inputs."""

    key: str
    train_s: float | None
    """None where the training was interrupted and resumed."""
    snippets_per_s: float


def entries(detectors: str, ablation: str | None) -> tuple[Entry, ...]:
    """The contestants of `--detectors` (`all`, or names with commas) or of `--ablation`.

    Raises ValueError for an unknown name.
    """
    if ablation is not None:
        if ablation not in ABLATIONS:
            raise ValueError(f"no ablation {ablation!r}; there are {', '.join(ABLATIONS)}")
        return ABLATIONS[ablation]
    names = list(DETECTORS) if detectors == "all" else [name.strip() for name in detectors.split(",")]
    for name in names:
        config_of(name)
    return tuple(Entry(name, name) for name in dict.fromkeys(names))


def bench(
    out: Path,
    contestants: Sequence[Entry],
    seeds: int,
    settings: Sequence[str] = (),
    *,
    shuffle_labels: bool = False,
    table: str = "detectors",
) -> tuple[list[Standing], Path]:
    """Run what is missing over the workspace `out`; returns the table and the path of its page.

    A contestant has the workspace's preset for its detector, with `settings` (`key.path=value`) changed
    for all. The table goes to the folder `table` below `bench/`. With `shuffle_labels` training labels
    say nothing of what the videos show, so that figures above chance would come from elsewhere.
    """
    run = Run.of(out)
    run.check()
    folder = run.workspace.root / ("bench-shuffled" if shuffle_labels else "bench")
    with run.workspace.locked():
        log.info("%-9s %s", "extract", EXTRACT.work(run))
        found = [_contestant(run, entry, seeds, settings, folder, shuffle_labels) for entry in contestants]
    rules = run.config.evaluate
    rows = standings(
        found,
        DEFAULT,
        read_truths(run),
        resamples=rules.bootstrap,
        confidence=rules.confidence,
        seed=rules.seed,
    )
    title = f"{run.inputs.title}, shuffled training labels" if shuffle_labels else run.inputs.title
    return rows, write_standings(folder / table, title, rows, DEFAULT)


def _contestant(
    run: Run, entry: Entry, seeds: int, settings: Sequence[str], folder: Path, shuffle_labels: bool
) -> Contestant:
    config = override(with_detector(run.config, entry.detector), [*entry.changes, *settings])
    runs, measured = [], []
    for seed in range(seeds):
        workspace = Workspace(folder / entry.name / f"seed-{seed}")
        workspace.features = run.workspace.features
        title = f"{run.inputs.title}: {entry.name}, seed {seed}"
        seeded = override(config, [f"train.seed={seed}"])
        one = replace(
            run,
            workspace=workspace,
            inputs=run.inputs.model_copy(update={"config": seeded, "title": title}),
            videos=shuffled_labels(run.records, seed) if shuffle_labels else run.videos,
        )
        measured.append(_run_once(one, f"{entry.name} {seed}"))
        runs.append(workspace.root)
    trained = [one.train_s for one in measured if one.train_s is not None]
    return Contestant(
        name=entry.name,
        runs=tuple(runs),
        parameters=read_info(runs[0] / "model").parameters,
        train_s=median(trained) if trained else None,
        snippets_per_s=median(one.snippets_per_s for one in measured),
    )


def _run_once(run: Run, name: str) -> Measured:
    """Train, infer and evaluate, unless that is done."""
    done = _finished(run)
    if done is not None:
        log.info("%-15s finished before", name)
        return done
    resumed = (run.workspace.model / RESUME_FILE).is_file()
    began = time.monotonic()
    summary = TRAIN.work(run)
    seconds = time.monotonic() - began
    INFER.work(run)
    EVALUATE.work(run)
    measured = Measured(
        key=_key(run), train_s=None if resumed else seconds, snippets_per_s=snippets_per_second(run)
    )
    path = run.workspace.root / MEASURED_FILE
    write_atomically(path, measured.model_dump_json(indent=1) + "\n")
    log.info("%-15s %s (%.1f s)", name, summary, seconds)
    return measured


def _key(run: Run) -> str:
    """Names a finished run by all that it was made from and what it wrote."""
    outputs = [stage.written(run) for stage in (TRAIN, INFER, EVALUATE)]
    return digest_of(TRAIN.reads(run), INFER.reads(run), EVALUATE.reads(run), outputs)


def _finished(run: Run) -> Measured | None:
    try:
        measured = Measured.model_validate_json((run.workspace.root / MEASURED_FILE).read_bytes())
        return measured if measured.key == _key(run) else None
    except (FileNotFoundError, ValueError):  # nothing there, or something damaged
        return None


def snippets_per_second(run: Run) -> float:
    """How fast the checkpoint scores the test videos, features in memory: the best of three passes.

    Snippets times crops, batches as configured, the detector alone.
    """
    checkpoint = load_checkpoint(run.workspace.model, resolve_device(run.config.runtime.device))
    records = run.having_features("test")
    videos = [read_features(feature_path(run.workspace.features, record.name)) for record in records]
    scorer = Scorer(checkpoint, run.config.infer)
    seconds = []
    for _ in range(TIMED_RUNS):
        began = time.perf_counter()
        for _ in scorer.score(iter(videos)):
            pass
        seconds.append(time.perf_counter() - began)
    rows = sum(np.prod(video.features.shape[:2]) for video in videos)
    return float(rows / min(seconds))


def shuffled_labels(records: Sequence[VideoRecord], seed: int) -> list[VideoRecord]:
    """The same videos with labels that say nothing of what they show; the test's are left alone.

    Of the videos of one split and one true label every other one is called normal, the rest this or that
    anomaly in turn: a plain permutation of few labels would often agree or disagree with the truth by chance.
    """
    random = np.random.default_rng(seed)
    anomalies = sorted({label for record in records for label in record.labels} - {NORMAL})
    called = itertools.cycle(anomalies)
    shuffled = []
    ordered = sorted(records, key=lambda record: (record.split, record.labels, record.name))
    for _, group in itertools.groupby(ordered, key=lambda record: (record.split, record.labels)):
        videos = list(group)
        for place, number in enumerate(random.permutation(len(videos))):
            record = videos[number]
            label = NORMAL if place % 2 == 0 else next(called)
            shuffled.append(record if record.split == "test" else replace(record, labels=(label,)))
    return shuffled
