"""Stage `infer`: checkpoint and features of the test videos → scores/NAME.h5."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from dsanet.checkpoint_info import read_info
from extract.errors import InputError
from extract.manifest import VideoRecord
from flows.pipeline.cache import Stage
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import feature_digests, model_digest, scores_digest
from flows.workspace.run import Run


def _inputs(run: Run) -> Any:
    """The checkpoint, the features of the test videos, and the settings."""
    records = run.having_features("test")
    _check_classes(records, run.workspace.model)
    return model_digest(run), feature_digests(run, records), run.config.infer


def _check_classes(records: Iterable[VideoRecord], model: Path) -> None:
    """Raises ValueError if a label of the videos is not among the classes of the checkpoint."""
    known = read_info(model).model.classes
    unknown = sorted({label for record in records for label in record.labels} - set(known))
    if unknown:
        raise InputError(
            f"the manifest has the labels {', '.join(unknown)}, which are not classes of the checkpoint in "
            f"{model} ({', '.join(known)}); train again, or use a manifest with these classes"
        )


def _work(run: Run) -> str:
    from dsanet.inference import infer

    workspace, config = run.workspace, run.config
    names = [record.name for record in run.having_features("test")]
    with computing(run, "infer", "videos") as report:
        infer(
            names,
            workspace.features,
            workspace.model,
            workspace.scores,
            config.infer,
            device=config.runtime.device,
            on_progress=lambda done, total: report(done, total, ""),
        )
    return f"{len(names)} videos scored"


INFER = Stage("infer", 1, _inputs, _work, scores_digest, lambda run: None)
