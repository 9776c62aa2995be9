"""The configuration of a run: the settings of all stages in one model, with presets and overrides.

A setting is addressed by its dotted path (`train.epochs=3`). All models are frozen and reject unknown keys.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, Field, ValidationError, model_validator

from dsanet.detectors.config import InferConfig, TextConfig, TrainConfig
from dsanet.detectors.dsanet.config import ModelConfig
from dsanet.detectors.dsanet.variant import variant_rules
from dsanet.detectors.registry import DEFAULT, DETECTORS, AnyDetectorConfig, config_class, detector_preset
from evaluate.config import EvaluateConfig
from extract.config import EVERY_SETTING, ExtractConfig, ExtractRuntime, StrictModel
from extract.errors import InputError
from flows.workspace.retrain_config import RetrainConfig

Preset = Literal["ucf-crime", "xd-violence", "small"]
PRESETS: tuple[str, ...] = get_args(Preset)
DEFAULT_PRESET: Preset = "ucf-crime"
StageName = Literal["extract", "train", "infer", "evaluate"]
VARIANT = "model.variant"
"""Path of DSANet's variant: a name, or single rules, which change those of the name that was set."""


class StagesConfig(StrictModel):
    """Retries and time limit of a stage. They never change a result."""

    retries: int = Field(2, ge=0, le=10, description="retries of a stage after a temporary I/O error")
    retry_delay_s: float = Field(
        5, gt=0, description="seconds before the first retry; doubled before each later one"
    )
    timeout_h: float | None = Field(
        None, gt=0, description="hours after which a stage is stopped and fails; empty: no limit"
    )


class TrainSettings(TrainConfig):
    """Settings of the training, and the initial weights of a retraining."""

    init: Literal["scratch", "champion"] = Field(
        "scratch", description="initial weights of a challenger in retraining: new ones, or the champion's"
    )


class PipelineConfig(StrictModel):
    """The settings of all stages. `runtime` and `stages` (device, workers, retries) never change a result."""

    preset: Preset = Field(DEFAULT_PRESET, description="source of the defaults")
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
    def _fill_in_preset(cls, given: Any) -> Any:
        name = given.get("preset", DEFAULT_PRESET) if isinstance(given, dict) else None
        if name not in PRESETS:
            return given  # validation then rejects it
        model = given.get("model", {})
        detector = model.get("detector", DEFAULT) if isinstance(model, dict) else DEFAULT
        if detector not in DETECTORS:
            return given  # validation then rejects it
        sections = {}
        for section, defaults in detector_preset(detector, name)._asdict().items():
            values = given.get(section, {})
            sections[section] = defaults.model_dump() | values if isinstance(values, dict) else values
        return given | sections


def preset_config(name: str) -> PipelineConfig:
    """The configuration of a preset. Raises ValueError for an unknown name."""
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}; expected one of {', '.join(PRESETS)}")
    return PipelineConfig.model_validate({"preset": name})


def with_detector(config: PipelineConfig, name: str) -> PipelineConfig:
    """`config` with `model`, `train` and `infer` replaced by the preset's settings for a detector.

    CLIP's text tower gets the weights of the image tower. Raises ValueError for an unknown detector.
    """
    config_class(name)  # raises for an unknown name
    kept = config.model_dump(exclude={"model", "train", "infer"})
    changed = config_from_values(kept | {"model": {"detector": name}})
    if not isinstance(changed.model, TextConfig):
        return changed
    model = changed.model.model_copy(update={"clip_weights": config.extract.weights})
    return changed.model_copy(update={"model": model})


def override(config: PipelineConfig, assignments: Iterable[str]) -> PipelineConfig:
    """`config` with `key.path=value` assignments applied in order; a value is JSON, otherwise plain text.

    `model.detector` also replaces the detector's own settings. A mapping given for a section changes only the
    settings that it names. Raises ValueError naming the path of an unknown key or of a value out of range.
    """
    values = config.model_dump(context=EVERY_SETTING)
    for assignment in assignments:
        path, separator, text = assignment.partition("=")
        if not separator:
            raise InputError(
                f"setting {assignment!r} has no `=`; expected key.path=value, for example train.epochs=3"
            )
        path, value = path.strip(), parse_value(text)
        in_part = isinstance(value, dict) and (path == VARIANT or _is_section(config, path))
        if path == "model.detector" or path.startswith(f"{VARIANT}.") or in_part:
            values = _merge(values, _nested(path, value))
        else:
            _set_value(values, path, value)
    return config_from_values(values)


def merge_settings(config: PipelineConfig, given: Mapping[str, Any]) -> PipelineConfig:
    """`config` with the settings in `given`; settings that `given` does not name keep their value.

    `given` is nested as in `workspace.json`; a model object in it replaces its whole section. Another
    `preset` replaces all settings, another `model.detector` the detector's, before the rest is applied.
    Raises ValueError naming the path of an unknown key or of a value out of range.
    """
    preset = given.get("preset", config.preset)
    begun = config if preset == config.preset else preset_config(str(preset))
    return config_from_values(_merge(begun.model_dump(), given))


def _is_section(config: PipelineConfig, path: str) -> bool:
    """True if the path names a group of settings, False for a setting (some settings are mappings)."""
    node: object = config
    for part in path.split("."):
        node = getattr(node, part, None)
    return isinstance(node, BaseModel)


def _nested(path: str, value: Any) -> dict[str, Any]:
    """`{"a": {"b": value}}` for the path `a.b`."""
    for part in reversed(path.split(".")):
        value = {part: value}
    nested: dict[str, Any] = value
    return nested


def _merge(values: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings `values` with those in `given` replaced, after a change of the detector.

    Single rules of a variant change the rules of the named one that was set.
    """
    model = given.get("model")
    if isinstance(model, Mapping):
        if "detector" in model:
            values = _change_detector(values, str(model["detector"]))
        variant = values["model"].get("variant")
        if isinstance(variant, str) and isinstance(model.get("variant"), Mapping):
            values = _merge_mappings(values, {"model": {"variant": variant_rules(variant).model_dump()}})
    return _merge_mappings(values, given)


def _merge_mappings(values: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(values)
    for key, value in given.items():
        here = merged.get(key)
        if isinstance(here, Mapping) and isinstance(value, Mapping):
            value = _merge_mappings(here, value)
        merged[key] = value
    return merged


def _change_detector(values: dict[str, Any], name: str) -> dict[str, Any]:
    """The values with another detector's settings of the preset; unchanged for the same detector."""
    if name == values["model"]["detector"]:
        return values
    return with_detector(config_from_values(values), name).model_dump(context=EVERY_SETTING)


def _set_value(values: dict[str, Any], path: str, value: Any) -> None:
    """Replace the value at a dotted path, in place. Raises ValueError if the path does not exist."""
    *parents, key = path.split(".")
    node: Any = values
    for parent in parents:
        node = node.get(parent) if isinstance(node, Mapping) else None
    if not isinstance(node, dict) or key not in node:
        raise InputError(f"no setting {path!r}; `dsanet config` lists all settings")
    node[key] = value


def config_from_values(values: Mapping[str, Any]) -> PipelineConfig:
    """A configuration from plain values. Raises ValueError, in one line, naming the first invalid setting."""
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        # pydantic tries a mapping as a variant's name too; that it is none is not the mistake.
        mistakes = (e for e in error.errors() if not (_is_name(e["loc"]) and isinstance(e["input"], Mapping)))
        first = next(mistakes, error.errors()[0])
        path = ".".join(str(part) for part in first["loc"] if part != "Variant" and not _is_name((part,)))
        raise InputError(f"setting {path}: {first['msg']} (given: {_shown(first['input'])})") from None


def _shown(value: object) -> str:
    """The value for a message; of a URL only its kind, because it may hold a password."""
    return re.sub(r"://[^'\"]*", "://…", repr(value))


def _is_name(location: tuple[int | str, ...]) -> bool:
    """True for an error of a setting's alternative that is one of several names."""
    return str(location[-1]).startswith("literal[")


def parse_value(text: str) -> Any:
    """The value of a text: parsed as JSON if it is JSON, otherwise the text itself."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
