"""Flow parameters that hold settings: a model object, or a mapping of the settings to change.

Prefect would complete a mapping to a model object with default values, and the flow could no longer tell
which settings were given. The JSON Schema, which Prefect's server checks and its UI shows as a form, is the
model's.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidatorFunctionWrapHandler, WrapValidator


def _keep_mapping(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return given if isinstance(given, Mapping) else validate(given)


PARTIAL = WrapValidator(_keep_mapping)
"""Annotates the type of a flow parameter: a mapping is passed as it is, for `merge_settings`."""
