"""The stage configurations composed: one value that says everything about a run.

Presets are functions, overrides are dotted paths (`train.epochs=3`). Every model is closed and frozen: an
unknown key is refused with its path.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dsanet.config import InferConfig, ModelConfig, TrainConfig
from dsanet.config import preset as stage_presets
from evaluate.config import EvaluateConfig
from extract.config import ExtractConfig, ExtractRuntime

Preset = Literal["ucf-crime", "xd-violence", "small"]
PRESETS: tuple[str, ...] = get_args(Preset)


class PipelineConfig(BaseModel):
    """What every stage is told. `runtime` says how it is run (device, workers) and never changes a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    preset: Preset = Field("ucf-crime", description="the preset the other values started from")
    extract: ExtractConfig = ExtractConfig()
    runtime: ExtractRuntime = ExtractRuntime()
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    infer: InferConfig = InferConfig()
    evaluate: EvaluateConfig = EvaluateConfig()


def preset_config(name: str) -> PipelineConfig:
    """The configuration of a preset. Raises ValueError for an unknown one."""
    if name not in PRESETS:
        raise ValueError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    values = stage_presets(name)
    return PipelineConfig.model_validate(
        {"preset": name, "model": values.model, "train": values.train, "infer": values.infer}
    )


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
        *parents, key = path.strip().split(".")
        node: Any = values
        for parent in parents:
            node = node.get(parent) if isinstance(node, Mapping) else None
        if not isinstance(node, dict) or key not in node:
            raise ValueError(f"no setting {path.strip()!r}; `dsanet config` lists them all")
        node[key] = _parse(text)
    return validated(values)


def validated(values: Mapping[str, Any]) -> PipelineConfig:
    """A configuration from plain values; ValueError in one line, with the path of the first bad key."""
    try:
        return PipelineConfig.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        path = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"setting {path}: {first['msg']} (given: {first['input']!r})") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
