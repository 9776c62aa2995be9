"""The detectors by the name that `--detector` takes: one line each, with the config and the model class.

The only module that knows which config builds which model. Classes are imported on first use, so that
reading DSANet's settings loads neither torch nor the other detectors.
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dsanet.detectors.config import DetectorConfig, Preset
from extract.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from dsanet.detectors.base import Detector


class Entry(NamedTuple):
    """`module:class` of a detector's config and of its model; modules are relative to `dsanet.detectors`."""

    config: str
    model: str


DETECTORS = {
    "mil-ranking": Entry("settings.mil_ranking:MILRankingConfig", "mil_ranking:MILRanking"),
    "clip-tsa": Entry("settings.clip_tsa:CLIPTSAConfig", "clip_tsa:CLIPTSA"),
    "vadclip": Entry("settings.vadclip:VadCLIPConfig", "vadclip:VadCLIP"),
    "vla-gated": Entry("settings.vla_gated:VLAGatedConfig", "vla_gated:VLAGated"),
    "dsanet": Entry("dsanet.config:ModelConfig", "dsanet.model:DSANet"),
}
DEFAULT = "dsanet"


def build_detector(config: DetectorConfig, text: "nn.Module | None" = None) -> "Detector[Any]":
    """The detector that `config` describes, with freshly drawn weights, in train mode on the CPU.

    Args:
        config: Settings of any registered detector, for example `detector_preset(NAME, PRESET).model`.
        text: Replaces the text module that the config asks for: called without arguments it returns (C, 512)
            class embeddings. Without it, a config with text loads CLIP's text tower from
            `config.clip_weights`.

    Raises:
        FileNotFoundError: The CLIP weights are not available.
        ValueError: The config has no classes, or an unknown detector.

    Examples:
        >>> import torch
        >>> from dsanet import build_detector
        >>> from dsanet.detectors.registry import detector_preset
        >>> detector = build_detector(detector_preset("mil-ranking", "ucf-crime").model)
        >>> output = detector(torch.zeros(2, 32, 512), torch.tensor([32, 20]))  # bags, valid lengths
        >>> output.anomaly_BT.shape
        torch.Size([2, 32])
    """
    return model_class(config.detector)(config, text)


def config_class(detector: str) -> type[DetectorConfig]:
    """The config class of a detector. Raises ValueError for an unknown name."""
    found: type[DetectorConfig] = _load(_entry(detector).config)
    return found


def model_class(detector: str) -> "type[Detector[Any]]":
    """The model class of a detector. Raises ValueError for an unknown name."""
    found: type[Detector[Any]] = _load(_entry(detector).model)
    return found


def detector_preset(detector: str, preset: str) -> Preset:
    """The detector's settings of a preset. Raises ValueError for an unknown detector or preset."""
    return config_class(detector).preset(preset)


def _entry(detector: str) -> Entry:
    if detector not in DETECTORS:
        raise InputError(f"no detector {detector!r}; expected one of {', '.join(DETECTORS)}")
    return DETECTORS[detector]


def _load(place: str) -> Any:
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(f"dsanet.detectors.{module}"), name)


def _to_config(values: Any) -> Any:
    """Plain values as an instance of the config class that their `detector` names."""
    if not isinstance(values, Mapping):
        return values
    return config_class(values.get("detector", DEFAULT)).model_validate(values)


class _AnyDetectorSchema:
    """JSON Schema that accepts every detector's config; the base class's own has only the common fields."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(config_class(name).__pydantic_core_schema__) for name in DETECTORS]}


AnyDetectorConfig = Annotated[
    DetectorConfig, BeforeValidator(_to_config), SerializeAsAny(), _AnyDetectorSchema()
]
"""Type of fields that hold the config of any detector; all its fields are read and written."""
