"""The stage configurations composed: one value that says everything about a run.

Presets are functions, overrides are dotted paths (`train.epochs=3`). Every model is closed and frozen: an
unknown key is refused with its path.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from dsanet.detectors.config import TextConfig
from dsanet.detectors.dsanet.config import InferConfig, ModelConfig, TrainConfig
from dsanet.detectors.registry import DEFAULT, DETECTORS, AnyDetectorConfig, config_of, detector_preset
from evaluate.config import EvaluateConfig
from extract.config import ExtractConfig, ExtractRuntime, StrictModel
from flows.workspace.retrain_config import RetrainConfig

Preset = Literal["ucf-crime", "xd-violence", "small"]
PRESETS: tuple[str, ...] = get_args(Preset)
StageName = Literal["extract", "train", "infer", "evaluate"]


class StagesConfig(StrictModel):
    """How a stage is tried again and given up; never changes a result."""

    retries: int = Field(2, ge=0, le=10, description="after an I/O error that may pass, and nothing else")
    retry_delay_s: float = Field(5, gt=0, description="before the first retry; doubled before each later one")
    timeout_h: float | None = Field(None, gt=0, description="hours after which a stage is given up")


class TrainSettings(TrainConfig):
    """How the detector is trained, and where a retraining begins."""

    init: Literal["scratch", "champion"] = Field(
        "scratch", description="of retraining: the challenger's first weights, new ones or the champion's"
    )


class PipelineConfig(StrictModel):
    """What every stage is told. `runtime` says how it is run (device, workers) and never changes a result."""

    preset: Preset = Field("ucf-crime", description="gives every value that is not given")
    stages: StagesConfig = StagesConfig()
    extract: ExtractConfig = ExtractConfig()
    runtime: ExtractRuntime = ExtractRuntime()
    model: AnyDetectorConfig = ModelConfig()
    train: TrainSettings = TrainSettings()
    infer: InferConfig = InferConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    retrain: RetrainConfig = RetrainConfig()

    @model_validator(mode="before")
    @classmethod
    def _begin_with_preset(cls, given: Any) -> Any:
        name = given.get("preset", "ucf-crime") if isinstance(given, dict) else None
        if name not in PRESETS:
            return given  # which is then refused
        model = given.get("model", {})
        detector = model.get("detector", DEFAULT) if isinstance(model, dict) else DEFAULT
        if detector not in DETECTORS:
            return given  # which is then refused
        values = detector_preset(detector, name)._asdict()
        begun = {section: value.model_dump() for section, value in values.items()}
        for section, settings in begun.items():
            mine = given.get(section, {})
            begun[section] = settings | mine if isinstance(mine, dict) else mine
        return given | begun


def preset_config(name: str) -> PipelineConfig:
    """The configuration of a preset. Raises ValueError for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PipelineConfig.model_validate({"preset": name})


def with_detector(config: PipelineConfig, name: str) -> PipelineConfig:
    """`config` with the preset's settings for a detector, whatever it had. ValueError for an unknown one."""
    config_of(name)  # raises, saying which there are
    kept = config.model_dump(exclude={"model", "train", "infer"})
    changed = validated(kept | {"model": {"detector": name}})
    if not isinstance(changed.model, TextConfig):
        return changed
    model = changed.model.model_copy(update={"clip_weights": config.extract.weights})
    return changed.model_copy(update={"model": model})


def override(config: PipelineConfig, assignments: Iterable[str]) -> PipelineConfig:
    """`config` with `key.path=value` assignments applied; a value is JSON, or else a plain string.

    Raises ValueError with the path of a key that does not exist or whose value is out of bounds.
    """
    values = config.model_dump()
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise ValueError(
                f"{assignment!r} sets nothing; expected key.path=value, for example train.epochs=3"
            )
        if path.strip() == "model.detector":  # which begins with that detector's settings
            name = str(parse_value(text.strip()))
            if name != values["model"]["detector"]:
                values = with_detector(validated(values), name).model_dump()
            continue
        *parents, key = path.strip().split(".")
        node: Any = values
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if not isinstance(node, dict) or key not in node:
            raise ValueError(f"no setting {path.strip()!r}; `dsanet config` lists them all")
        node[key] = parse_value(text)
    return validated(values)


def validated(values: Mapping[str, Any]) -> PipelineConfig:
    """A configuration from plain values; ValueError in one line, with the path of the first bad key."""
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"setting {path}: {first['msg']} (given: {first['input']!r})") from None


def parse_value(text: str) -> Any:
    """JSON, or else the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
