"""Leaderboard: the figures of several runs in one table, with paired differences from the first.

Each run is evaluated already (`metrics.json`); its score files give the paired intervals. Page, CSV and
Markdown have the same rows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluate.annotations import VideoTruth
from evaluate.evaluated_videos import run_digests, scores_digest
from evaluate.metrics.bootstrap import central, draw_videos
from evaluate.report.compare import find_metrics, run_names, run_notes, run_warnings
from evaluate.report.headlines import (
    EVENTS_FOUND,
    FRAME_HEADLINES,
    VIDEO_HEADLINES,
    Headline,
    Metrics,
)
from evaluate.report.margins import Array, Margin, margins, resampled_means
from evaluate.report.metrics_file import read_metrics
from evaluate.report.published_results import RESULTS, PublishedResult
from extract.errors import InputError, MissingFileError

HEADLINES: tuple[Headline, ...] = (
    *FRAME_HEADLINES,
    *VIDEO_HEADLINES[:3],
    *EVENTS_FOUND.values(),
)
"""Metrics of the table; those that no run has are left out."""


@dataclass(frozen=True, eq=False)
class EvaluatedRun:
    """A run with its report and its score files."""

    name: str
    metrics: Metrics
    scores: Path

    @property
    def videos(self) -> list[str]:
        """Names of the videos that were evaluated, in the order of the ground truth."""
        return [str(video["name"]) for video in self.metrics["videos"]]


@dataclass(frozen=True)
class LeaderboardRow:
    """A row of the table; all figures by headline key, in percent."""

    name: str
    figures: Mapping[str, float]
    intervals: Mapping[str, tuple[float, float]]
    margins: Mapping[str, Margin]
    """Differences from the first run; empty for that one."""
    published: tuple[PublishedResult, ...]
    """Results that the method's authors, or others, have published on the data set."""

    def published_figures(self, key: str) -> tuple[float, ...]:
        """Published values of one metric, without repetitions."""
        values = [result.figures[key] for result in self.published if key in result.figures]
        return tuple(dict.fromkeys(values))


@dataclass(frozen=True)
class Leaderboard:
    """The rows in the order of the runs, and what a reader has to know."""

    rows: tuple[LeaderboardRow, ...]
    headlines: tuple[Headline, ...]
    """Metrics that at least one run has."""
    warnings: tuple[str, ...]
    """Differences that make the runs hard to compare."""
    notes: tuple[str, ...]
    """Notes of the runs' reports."""
    confidence: float
    runs: tuple[EvaluatedRun, ...]

    @property
    def reference(self) -> str:
        """Name of the first run."""
        return self.rows[0].name


def read_runs(folders: Sequence[Path]) -> list[EvaluatedRun]:
    """The runs in these workspaces (or report folders in them).

    Raises InputError for fewer than two, for one run given twice, and for scores that have changed since
    their evaluation; MissingFileError for a run without report or scores.
    """
    if len(folders) < 2:
        raise InputError(f"a leaderboard needs at least two runs, {len(folders)} given")
    files = [find_metrics(folder).resolve() for folder in folders]
    if repeated := [
        str(folder) for folder, file in zip(folders, files, strict=True) if files.count(file) > 1
    ]:
        raise InputError(f"{repeated[0]} is given twice; give every run once")
    metrics = [read_metrics(file) for file in files]
    names = run_names(folders, metrics)
    runs = []
    for folder, file, name, found in zip(folders, files, names, metrics, strict=True):
        scores = file.parent.parent / "scores"
        if not scores.is_dir():
            raise MissingFileError(f"{folder}: no score files in {scores}; give the workspace of the run")
        run = EvaluatedRun(name, found, scores)
        if scores_digest(scores, run.videos) != found["digests"]["scores"]:
            raise InputError(
                f"{folder}: scores have changed since the evaluation; run `dsanet evaluate` again"
            )
        runs.append(run)
    return runs


def build_leaderboard(
    runs: Sequence[EvaluatedRun],
    truths: Sequence[VideoTruth],
    *,
    resamples: int,
    confidence: float,
    seed: int,
    release: float = 1.0,
) -> Leaderboard:
    """The table of the runs. The differences are those on the videos that a run has in common with the first.

    Args:
        runs: At least two; the first is the reference.
        truths: Ground truth of the test videos of the first run.
        resamples: Bootstrap resamples of the videos.
        confidence: Probability that the intervals cover.
        seed: Random seed of the resamples.
        release: Share of the threshold at which alarms end, for the events found.

    Raises:
        InputError: The ground truth of the first run has changed since its evaluation.
    """
    by_name = {truth.name: truth for truth in truths}
    own = [by_name[name] for name in runs[0].videos if name in by_name]
    if run_digests(runs[0].scores, own)["truth"] != runs[0].metrics["digests"]["truth"]:
        raise InputError(
            f"{runs[0].name}: the ground truth has changed since the evaluation; run `dsanet evaluate` again"
        )
    named = [(run.name, run.metrics) for run in runs]
    warnings = run_warnings(named)
    pairing = _Pairing(runs[0], resamples, confidence, seed, release)
    found: list[Mapping[str, Margin]] = [{}]
    for run in runs[1:]:
        common = tuple(truth for truth in own if truth.name in set(run.videos))
        if len(common) < len(own) or len(common) < len(run.videos):
            warnings.append(
                f"{run.name}: its differences from {runs[0].name} are those on the {len(common)} videos that "
                f"both have, with the ground truth of {runs[0].name}."
            )
        found.append(pairing.margins(run, common) if common else {})
    rows = tuple(_row(run, margin) for run, margin in zip(runs, found, strict=True))
    shown = tuple(headline for headline in HEADLINES if any(headline.key in row.figures for row in rows))
    return Leaderboard(rows, shown, tuple(warnings), tuple(run_notes(named)), confidence, tuple(runs))


@dataclass(frozen=True, eq=False)
class _Pairing:
    """Paired differences from one run, whose resampled figures are computed once for each set of videos."""

    reference: EvaluatedRun
    resamples: int
    confidence: float
    seed: int
    release: float
    known: dict[tuple[VideoTruth, ...], dict[str, Array]] = field(default_factory=dict)

    def margins(self, run: EvaluatedRun, truths: tuple[VideoTruth, ...]) -> dict[str, Margin]:
        """Differences of `run` on these videos."""
        if truths not in self.known:
            self.known[truths] = self._means(self.reference, truths)
        return margins(self._means(run, truths), self.known[truths], central(self.confidence))

    def _means(self, run: EvaluatedRun, truths: Sequence[VideoTruth]) -> dict[str, Array]:
        """Each run has its own threshold, as in its figures."""
        draws_BV = draw_videos(len(truths), self.resamples, self.seed)
        keys = [headline.key for headline in HEADLINES]
        threshold = run.metrics["threshold"]
        return resampled_means([run.scores], truths, draws_BV, keys, threshold, self.release)


def _row(run: EvaluatedRun, found: Mapping[str, Margin]) -> LeaderboardRow:
    values = {headline.key: headline.value(run.metrics) for headline in HEADLINES}
    intervals = {headline.key: headline.interval(run.metrics) for headline in HEADLINES}
    return LeaderboardRow(
        run.name,
        {key: value for key, value in values.items() if value is not None},
        {key: interval for key, interval in intervals.items() if interval is not None},
        found,
        _published(run.metrics),
    )


def _published(metrics: Metrics) -> tuple[PublishedResult, ...]:
    """Published results of the detector, or of the method that the title of imported scores names."""
    dataset = (metrics["paper"] or {}).get("dataset")
    model = metrics["config"].get("model")
    method = _plain(model["detector"] if model else metrics["title"])
    return tuple(one for one in RESULTS if one.dataset == dataset and _plain(one.name) == method)


def _plain(name: str) -> str:
    """`VadCLIP` and `vad-clip` are one method."""
    return "".join(filter(str.isalnum, name.casefold()))
