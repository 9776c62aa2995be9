"""The detectors, by the name that `--detector` takes: one line each.

A line says where the config is; the config builds the detector. Nothing is imported before it is
asked for, so that a look at DSANet's settings does not load the others, nor torch.
"""

import importlib
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, GetJsonSchemaHandler, SerializeAsAny
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from dsanet.detectors.config import DetectorConfig, Preset

DETECTORS = {
    "mil-ranking": "dsanet.detectors.mil_ranking:MILRankingConfig",
    "clip-tsa": "dsanet.detectors.clip_tsa:CLIPTSAConfig",
    "vadclip": "dsanet.detectors.vadclip:VadCLIPConfig",
    "vla-gated": "dsanet.detectors.vla_gated:VLAGatedConfig",
    "dsanet": "dsanet.detectors.dsanet.config:ModelConfig",
}
DEFAULT = "dsanet"


def config_of(detector: str) -> type[DetectorConfig]:
    """The config class of a detector. Raises ValueError for an unknown name."""
    if detector not in DETECTORS:
        raise ValueError(f"no detector {detector!r}; there are {', '.join(DETECTORS)}")
    module, _, name = DETECTORS[detector].partition(":")
    found: type[DetectorConfig] = getattr(importlib.import_module(module), name)
    return found


def detector_preset(detector: str, preset: str) -> Preset:
    """The detector's settings of a preset. Raises ValueError for an unknown name of either."""
    return config_of(detector).preset(preset)


def _of_its_detector(values: Any) -> Any:
    """The config that plain values describe: their `detector` says of which class it is."""
    if not isinstance(values, Mapping):
        return values
    return config_of(values.get("detector", DEFAULT)).model_validate(values)


class _SchemaOfEvery:
    """JSON Schema of whichever detector: the base class's alone would refuse what only one of them has."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"anyOf": [handler(config_of(name).__pydantic_core_schema__) for name in DETECTORS]}


AnyDetectorConfig = Annotated[
    DetectorConfig, BeforeValidator(_of_its_detector), SerializeAsAny(), _SchemaOfEvery()
]
"""For fields that hold any detector's config: read and written in full."""
