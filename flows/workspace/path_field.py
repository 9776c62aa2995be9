"""The type of a setting or flow parameter that is a path on this machine or an address."""

from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from extract.errors import InputError
from extract.remote.path import AnyPath, as_path


def _validated(given: object) -> AnyPath:
    if not isinstance(given, AnyPath | str):
        raise InputError("expected a path or an address")
    return as_path(given)


PathField = Annotated[
    AnyPath,
    PlainValidator(_validated),
    PlainSerializer(str, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "path"}),
]
"""In JSON a text. An invalid address is an error of validation."""
