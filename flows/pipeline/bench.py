"""`dsanet bench`: train, run and evaluate several detectors on the same features, with several seeds.

Features are extracted once, into the workspace. Below `bench/`, each entry has one workspace per seed,
`NAME/seed-N/`, with model/, scores/, report/ and, written last, `measured.json`. A finished run with
unchanged inputs is not repeated; an interrupted training is resumed.
"""

import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np
from pydantic import ValidationError

from dsanet.checkpoint import DRAFT, load_checkpoint, read_info
from dsanet.detectors.registry import DEFAULT, DETECTORS, config_class
from dsanet.inference import Scorer
from dsanet.training.resume import RESUME_FILE
from evaluate.report.standings import BenchmarkRun, Standing, build_standings, write_standings
from extract.atomic import write_atomically
from extract.config import StrictModel
from extract.errors import InputError
from extract.labels import NORMAL
from extract.manifest import VideoRecord
from extract.store import feature_path, read_features
from flows.pipeline.checks import check_frames, check_run
from flows.pipeline.stages import EVALUATE, EXTRACT, INFER, TRAIN
from flows.pipeline.stages.device import device_in_use
from flows.pipeline.stages.evaluate import read_truths
from flows.workspace.config import PipelineConfig, override, with_detector
from flows.workspace.run import Run, digest_of

log = logging.getLogger(__name__)

MEASURED_FILE = "measured.json"
TIMED_PASSES = 3


@dataclass(frozen=True)
class BenchmarkEntry:
    """One row of the benchmark: a detector, with some of its settings changed."""

    name: str
    detector: str
    changes: tuple[str, ...] = ()
    """Settings, `key.path=value`."""


TABLE_5 = (
    BenchmarkEntry("vadclip", "vadclip"),
    BenchmarkEntry("adapter", DEFAULT, ("model.normality=false", "model.disentangled_alignment=false")),
    BenchmarkEntry("adapter+sg-nm", DEFAULT, ("model.disentangled_alignment=false",)),
    BenchmarkEntry("adapter+dcsa", DEFAULT, ("model.normality=false",)),
    BenchmarkEntry("dsanet", DEFAULT),
)
TABLE_6 = (
    BenchmarkEntry("text-frozen", DEFAULT, ("model.text_tuning=frozen",)),
    BenchmarkEntry("text-manual", DEFAULT, ("model.text_tuning=manual",)),
    BenchmarkEntry("text-learned", DEFAULT, ("model.text_tuning=learned",)),
    BenchmarkEntry("dsanet", DEFAULT),
)
ABLATIONS = {"table5": TABLE_5, "table6": TABLE_6}
"""DSANet's ablations, tables 5 and 6 of the paper; the last row of each is the full model."""


class Measurement(StrictModel):
    """The content of `measured.json`: what a finished run's other files do not hold."""

    key: str
    """Digest of the inputs and outputs of the run."""
    train_s: float | None
    """Seconds of training; None if it was interrupted and resumed."""
    snippets_per_s: float


def parse_entries(detectors: str, ablation: str | None) -> tuple[BenchmarkEntry, ...]:
    """The entries of `--detectors` (`all`, or comma-separated names), or of `--ablation` if given.

    Raises ValueError for an unknown name.
    """
    if ablation is not None:
        if ablation not in ABLATIONS:
            raise InputError(f"no ablation {ablation!r}; expected one of {', '.join(ABLATIONS)}")
        return ABLATIONS[ablation]
    names = list(DETECTORS) if detectors == "all" else [name.strip() for name in detectors.split(",")]
    for name in names:
        config_class(name)  # raises for an unknown name
    return tuple(BenchmarkEntry(name, name) for name in dict.fromkeys(names))


def bench(
    out: Path,
    entries: Sequence[BenchmarkEntry],
    seeds: int,
    settings: Sequence[str] = (),
    *,
    shuffle_labels: bool = False,
    table: str = "detectors",
) -> tuple[list[Standing], Path]:
    """Run all entries over the workspace `out`, with the seeds 0 … seeds - 1.

    Returns the rows of the table and the path of its page, in `bench/TABLE/`. An entry has the workspace's
    preset for its detector; `settings` (`key.path=value`) apply to all entries. With `shuffle_labels` the
    training labels are independent of the videos and results go to `bench-shuffled/`: figures above chance
    then reveal a leak.
    """
    run = Run.load(out)
    configs = [
        override(with_detector(run.config, entry.detector), [*entry.changes, *settings]) for entry in entries
    ]
    for config in configs:
        check_run(replace(run, inputs=run.inputs.model_copy(update={"config": config})))
    folder = "bench-shuffled" if shuffle_labels else "bench"
    with run.workspace.locked():
        log.info("%-9s %s", "extract", EXTRACT.work(run))
        check_frames(run)
        finished = [
            _run_entry(run, entry, config, seeds, folder, shuffle_labels)
            for entry, config in zip(entries, configs, strict=True)
        ]
    evaluation = run.config.evaluate
    rows = build_standings(
        finished,
        DEFAULT,
        read_truths(run),
        resamples=evaluation.bootstrap,
        confidence=evaluation.confidence,
        seed=evaluation.seed,
    )
    title = f"{run.inputs.title}, shuffled training labels" if shuffle_labels else run.inputs.title
    return rows, write_standings(run.workspace.root / folder / table, title, rows, DEFAULT)


def _run_entry(
    run: Run,
    entry: BenchmarkEntry,
    config: PipelineConfig,
    seeds: int,
    folder: str,
    shuffle_labels: bool,
) -> BenchmarkRun:
    runs = [_seeded_run(run, entry, config, seed, folder, shuffle_labels) for seed in range(seeds)]
    measured = [_run_once(one, f"{entry.name} {seed}") for seed, one in enumerate(runs)]
    train_s = [one.train_s for one in measured if one.train_s is not None]
    return BenchmarkRun(
        name=entry.name,
        runs=tuple(one.workspace.root for one in runs),
        parameters=read_info(runs[0].workspace.model).parameters,
        train_s=median(train_s) if train_s else None,
        snippets_per_s=median(one.snippets_per_s for one in measured),
    )


def _seeded_run(
    run: Run, entry: BenchmarkEntry, config: PipelineConfig, seed: int, folder: str, shuffle_labels: bool
) -> Run:
    """The run of one entry and seed, in its own workspace with the feature files of `run`."""
    workspace = run.workspace.part(f"{folder}/{entry.name}/seed-{seed}")
    title = f"{run.inputs.title}: {entry.name}, seed {seed}"
    seeded = override(config, [f"train.seed={seed}"])
    return replace(
        run,
        workspace=workspace,
        inputs=run.inputs.model_copy(update={"config": seeded, "title": title}),
        videos=shuffled_labels(run.records, seed) if shuffle_labels else run.videos,
    )


def _run_once(run: Run, name: str) -> Measurement:
    """Train, infer, evaluate and measure, unless the run is finished."""
    finished = _read_measurement(run)
    if finished is not None:
        log.info("%-15s finished before", name)
        return finished
    resumed = (run.workspace.model / DRAFT / RESUME_FILE).is_file()
    began = time.monotonic()
    summary = TRAIN.work(run)
    seconds = time.monotonic() - began
    INFER.work(run)
    EVALUATE.work(run)
    measurement = Measurement(
        key=_run_key(run), train_s=None if resumed else seconds, snippets_per_s=measure_speed(run)
    )
    write_atomically(run.workspace.root / MEASURED_FILE, measurement.model_dump_json(indent=1) + "\n")
    log.info("%-15s %s (%.1f s)", name, summary, seconds)
    run.workspace.synchronise()
    return measurement


def _run_key(run: Run) -> str:
    """Digest of the inputs and outputs of training, inference and evaluation."""
    outputs = [stage.output_digest(run) for stage in (TRAIN, INFER, EVALUATE)]
    return digest_of(TRAIN.inputs(run), INFER.inputs(run), EVALUATE.inputs(run), outputs)


def _read_measurement(run: Run) -> Measurement | None:
    """`measured.json` if it fits the run's files; None if it is missing, damaged or outdated."""
    try:
        measurement = Measurement.model_validate_json((run.workspace.root / MEASURED_FILE).read_bytes())
        return measurement if measurement.key == _run_key(run) else None
    except (FileNotFoundError, InputError, ValidationError):
        return None


def measure_speed(run: Run) -> float:
    """Snippets per second of the checkpoint on the test videos, the best of TIMED_PASSES passes.

    Only the detector is timed, with features in memory and the configured batches; each crop of a snippet
    counts.
    """
    records = run.having_features("test")
    videos = [read_features(feature_path(run.workspace.features, record.name)) for record in records]
    seconds = []
    with device_in_use(run.config.runtime.device) as device:
        scorer = Scorer(load_checkpoint(run.workspace.model, device), run.config.infer)
        for _ in range(TIMED_PASSES):
            began = time.perf_counter()
            for _ in scorer.score(iter(videos)):
                pass
            seconds.append(time.perf_counter() - began)
    snippets = sum(np.prod(video.features.shape[:2]) for video in videos)
    return float(snippets / min(seconds))


def shuffled_labels(records: Sequence[VideoRecord], seed: int) -> list[VideoRecord]:
    """The same videos with labels that are independent of their content; test videos keep theirs.

    Within each split and true label, every other video becomes normal, the rest the anomaly classes in turn.
    A plain permutation of few labels would often correlate with the truth by chance.
    """
    random = np.random.default_rng(seed)
    anomalies = sorted({label for record in records for label in record.labels} - {NORMAL})
    next_anomaly = itertools.cycle(anomalies)
    shuffled = []
    ordered = sorted(records, key=lambda record: (record.split, record.labels, record.name))
    for _, group in itertools.groupby(ordered, key=lambda record: (record.split, record.labels)):
        videos = list(group)
        for place, number in enumerate(random.permutation(len(videos))):
            record = videos[number]
            label = NORMAL if place % 2 == 0 else next(next_anomaly)
            shuffled.append(record if record.split == "test" else replace(record, labels=(label,)))
    return shuffled
