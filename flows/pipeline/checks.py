"""Everything that can refuse a run, checked before its first video is decoded.

Each stage checks its own inputs again; here the same rules are applied to what is known from the start:
manifest, annotations and settings. The number of frames is known only after the extraction, and is checked
before the training.
"""

import logging

from evaluate.annotations import VideoTruth
from extract.errors import InputError
from extract.manifest import VideoRecord
from flows.pipeline.stages.evaluate import ground_truth
from flows.pipeline.stages.train import check_detector
from flows.workspace.config import PipelineConfig
from flows.workspace.run import Run, unlearned_classes_note

log = logging.getLogger(__name__)


def check_run(run: Run) -> None:
    """Raise InputError for whatever would make a stage of `extract-train-eval` refuse its input."""
    run.check_sources()
    run.check()
    _check_settings(run.config)
    model = check_detector(run)
    for truth in _test_truths(run, [record for record in run.records if record.split == "test"]):
        for segment in truth.segments or ():
            if segment.label not in model.classes:
                raise InputError(
                    f"{run.inputs.annotations}: {truth.name} is annotated with {segment.label!r}, a label "
                    f"that no video of the manifest has; expected one of {', '.join(model.classes[1:])}"
                )


def check_frames(run: Run) -> None:
    """Raise InputError if an annotation lies outside its video, as its feature file counts frames."""
    for truth in _test_truths(run, run.having_features("test")):
        if truth.segments or truth.frames:
            truth.frame_labels(run.index.read_meta(truth.name).source.n_frames)


def warn_of_unlearned_classes(run: Run) -> None:
    """Log the labels of test videos that no training video has."""
    if note := unlearned_classes_note(run.records):
        log.warning("%s", note)


def _test_truths(run: Run, records: list[VideoRecord]) -> list[VideoTruth]:
    return ground_truth(run, records).truths


def _check_settings(config: PipelineConfig) -> None:
    """Raise InputError for settings of a later stage that need others of an earlier one."""
    infer, model = config.infer, config.model
    if config.evaluate.tsne and not infer.learned_features:
        raise InputError("evaluate.tsne needs infer.learned_features=true, which stores the features to draw")
    if isinstance(infer.crop, int) and not 0 <= infer.crop < config.extract.crops:
        raise InputError(
            f"infer.crop is {infer.crop}, but extract.crops is {config.extract.crops}; crops count from 0"
        )
    if infer.normal_distance and not getattr(model, "normality", False):
        raise InputError(
            f"infer.normal_distance needs SG-NM (model.normality=true), which {model.detector} lacks here"
        )
