"""Stage `infer`: checkpoint and features of the test videos → scores/NAME.h5.

With `evaluate.causal` also scores-causal/NAME.h5, which an ordinary run neither reads nor changes.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsanet.checkpoint_info import read_info
from extract.errors import InputError
from extract.manifest import VideoRecord
from flows.pipeline.cache import Stage
from flows.pipeline.stages.device import computing
from flows.pipeline.stages.digests import feature_digests, model_digest, scores_digest
from flows.progress import Report
from flows.workspace.run import Run

if TYPE_CHECKING:
    from evaluate.scores import VideoScores


def _inputs(run: Run) -> Any:
    """The checkpoint, the features of the test videos, and the settings."""
    records = run.having_features("test")
    _check_classes(records, run.workspace.model)
    made = model_digest(run), feature_digests(run, records), run.config.infer
    return (*made, "causal") if run.config.evaluate.causal else made


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
    folders = [workspace.scores, *([workspace.causal_scores] if config.evaluate.causal else [])]
    on_cluster = config.runtime.runner == "ray"
    for folder in folders:
        causal = folder == workspace.causal_scores
        with computing(run, "infer", "videos", on_cluster=on_cluster) as report:
            infer(
                names,
                workspace.features,
                workspace.model,
                folder,
                config.infer,
                device="cpu" if on_cluster else config.runtime.device,
                causal=causal,
                on_progress=_progress(report, "causal" if causal else ""),
                score=partial(_score_on_cluster, run, causal) if on_cluster else None,
            )
    return f"{len(names)} videos scored{', also causally' if config.evaluate.causal else ''}"


def _score_on_cluster(run: Run, causal: bool, names: Sequence[str]) -> "Iterator[VideoScores]":
    from dsanet.cluster_inference import cluster_scores

    place, config = run.workspace, run.config
    return cluster_scores(names, place.features, place.model, config.infer, config.runtime, causal=causal)


def _progress(report: Report, note: str) -> Callable[[int, int], None]:
    return lambda done, total: report(done, total, note)


def without_causal_scores(run: Run) -> Run:
    """The run for videos whose causal scores nobody reads: those of a library and of drift."""
    return run.with_config(evaluate=run.config.evaluate.model_copy(update={"causal": False}))


INFER = Stage("infer", 1, _inputs, _work, scores_digest, lambda run: None)
