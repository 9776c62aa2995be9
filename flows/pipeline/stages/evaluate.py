"""Stage `evaluate`: score files and ground truth of the test videos → metrics and page in report/."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dsanet.checkpoint_info import CURVES_FILE, read_info
from evaluate.annotations import VideoTruth, read_annotation_file
from evaluate.ground_truth import GroundTruth, match_annotations
from evaluate.report.files import MAX_CARDS, METRICS_FILE, PAGE_FILE, TABLE_FILE
from evaluate.scores import score_path
from extract.display import shortened
from extract.errors import InputError
from extract.manifest import VideoRecord
from extract.store import feature_path, read_features
from flows.pipeline.artifacts import publish_metrics
from flows.pipeline.cache import Stage
from flows.pipeline.stages.digests import features_digest, model_digest, scores_digest
from flows.workspace.imported_scores import PROVENANCE, ImportRecord, import_record
from flows.workspace.run import Run, check_testable, digest_of, unlearned_classes_note


def _inputs(run: Run) -> Any:
    """Scores, ground truth, settings, and what else the report shows: curves, title, notes."""
    check_testable(run.records)
    if run.config.evaluate.causal:
        _check_causal_scores(run)
    curves = run.digest(run.workspace.model / CURVES_FILE)
    truths = [truth.facts for truth in read_truths(run)]
    return scores_digest(run), truths, run.config.evaluate, curves, run.inputs.title, _notes(run)


def _check_causal_scores(run: Run) -> None:
    """Raises InputError if a video has no causal scores beside its own."""
    if _imported(run):
        raise InputError("imported scores have no causal ones beside them; set evaluate.causal=false")
    scores, causal = run.workspace.scores, run.workspace.causal_scores
    names = [record.name for record in run.having_features("test")]
    missing = [n for n in names if score_path(scores, n).is_file() and not score_path(causal, n).is_file()]
    if missing:
        raise InputError(
            f"evaluate.causal is set, but {len(missing)} of {len(names)} test videos have no causal scores: "
            f"{shortened(missing)}; run `dsanet infer --out {run.workspace.root} --causal` first, or set "
            "evaluate.causal=false"
        )


def read_truths(run: Run) -> list[VideoTruth]:
    """Ground truth of the test videos that have features, or of all if their scores were imported.

    Raises AnnotationError for an invalid file.
    """
    return ground_truth(run, _test_videos(run)).truths


def _test_videos(run: Run) -> list[VideoRecord]:
    return _tests(run) if _imported(run) else run.having_features("test")


def _tests(run: Run) -> list[VideoRecord]:
    return [record for record in run.records if record.split == "test"]


def _imported(run: Run) -> ImportRecord | None:
    """The record of an import if the scores are those of another program: then there are no features."""
    return import_record(run.workspace, (record.name for record in _tests(run)))


def ground_truth(run: Run, videos: Sequence[VideoRecord]) -> GroundTruth:
    """Ground truth of these videos, with notes on merged and unused rows. Raises AnnotationError."""
    annotations = read_annotation_file(run.inputs.annotations) if run.inputs.annotations else None
    return match_annotations(videos, annotations, run.records)


def _notes(run: Run) -> list[str]:
    """Notes on top of the report: those of the checkpoint, failed videos, merged and unused annotations.

    Of imported scores, the notes of the import stand in the place of those on training and extraction.
    """
    annotated = ground_truth(run, _test_videos(run)).notes
    if imported := _imported(run):
        return [*imported.notes, *annotated]
    failed = [record.name for record in run.without_features()]
    left_out = (
        [f"{len(failed)} videos could not be read and are left out: {shortened(failed)}"] if failed else []
    )
    unlearned = unlearned_classes_note(run.records)
    classes = [unlearned] if unlearned else []
    return [*read_info(run.workspace.model).notes, *left_out, *classes, *annotated]


def _work(run: Run) -> str:
    from evaluate.evaluation import evaluate_scores
    from evaluate.report.write import write_report
    from flows.pipeline.thumbnails import thumbnails

    workspace = run.workspace
    truths, config = read_truths(run), run.config.evaluate
    evaluation = evaluate_scores(workspace.scores, truths, config)
    causal = evaluate_scores(workspace.causal_scores, truths, config) if config.causal else None
    with thumbnails(run.records, run.config.runtime.timeout_s) as thumbnail:
        write_report(
            workspace.report,
            evaluation,
            title=run.inputs.title,
            notes=_notes(run),
            curves_csv=workspace.model / CURVES_FILE,
            thumbnail=thumbnail,
            raw_features=_mean_features(run) if run.config.evaluate.tsne else None,
            run_config=_run_config(run),
            digests=_digests_of_inputs(run),
            causal=causal,
        )
    return f"report in {workspace.report / PAGE_FILE}"


def _run_config(run: Run) -> dict[str, Any]:
    """All settings; of imported scores only the record of the import, because no other stage has run."""
    if imported := _imported(run):
        return {PROVENANCE: imported.model_dump(mode="json")}
    return run.config.model_dump(mode="json")


def _mean_features(run: Run) -> Callable[[str], NDArray[np.float16]]:
    """A function (video name) → its features (T, D), averaged over the crops: the left half of figure 4."""
    return lambda name: read_features(feature_path(run.workspace.features, name)).features.mean(axis=1)


def _digests_of_inputs(run: Run) -> dict[str, str]:
    annotations = run.digest(run.inputs.annotations) if run.inputs.annotations else None
    made = {} if _imported(run) else {"features": features_digest(run), "model": model_digest(run)}
    digests = {**made, "annotations": annotations}
    return {name: digest for name, digest in digests.items() if digest}


def _output_digest(run: Run) -> str | None:
    names = [METRICS_FILE, PAGE_FILE]
    if len(_test_videos(run)) > MAX_CARDS:
        names.append(TABLE_FILE)
    parts = [run.digest(run.workspace.report / name) for name in names]
    return digest_of(parts) if all(parts) else None


EVALUATE = Stage("evaluate", 2, _inputs, _work, _output_digest, publish_metrics)
