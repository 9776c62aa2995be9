"""Digests of the stages' output files, which are inputs of later stages: cache keys follow content."""

from collections.abc import Iterable
from pathlib import Path

from dsanet.checkpoint_info import INFO_FILE, weights_file
from evaluate.scores import score_path
from extract.manifest import VideoRecord
from flows.workspace.run import Run, digest_of


def feature_digests(run: Run, records: Iterable[VideoRecord]) -> dict[str, str | None]:
    """sha256 of the feature file of each video, by name; None for a missing file."""
    return {r.name: run.index.features_digest(r.name) for r in records}


def features_digest(run: Run) -> str:
    """One digest of the feature files of all videos of the run."""
    return digest_of(feature_digests(run, run.records))


def model_digest(run: Run) -> str | None:
    """Digest of the checkpoint's weights and description, None if one is missing."""
    model = run.workspace.model
    parts = [run.digest(path) for path in (weights_file(model), model / INFO_FILE)]
    return digest_of(parts) if all(parts) else None


def scores_digest(run: Run) -> str:
    """Digest of the score files of the test videos, and with `evaluate.causal` of the causal ones."""
    scores = _digest_of_scores(run, run.workspace.scores)
    if not run.config.evaluate.causal:
        return scores
    return digest_of(scores, _digest_of_scores(run, run.workspace.causal_scores))


def _digest_of_scores(run: Run, folder: Path) -> str:
    names = [record.name for record in run.records if record.split == "test"]
    return digest_of({name: run.digest(score_path(folder, name)) for name in names})
