"""MkDocs hook: the tables of the settings page, from the configuration classes themselves."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

MARKER = "<!-- settings -->"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace the marker on a page by the tables of all settings."""
    return markdown.replace(MARKER, settings_tables()) if MARKER in markdown else markdown


def settings_tables() -> str:
    """Markdown: a heading and a table for each section of the configuration, then for each other detector."""
    from dsanet.detectors.registry import DEFAULT, DETECTORS, detector_preset
    from flows.workspace.config import preset_config

    config = preset_config("ucf-crime")
    tables = [
        _section(name, f"`{name}`", getattr(config, name))
        for name in type(config).model_fields
        if name != "preset"
    ]
    for name in DETECTORS:
        if name != DEFAULT:
            model = detector_preset(name, "ucf-crime").model
            tables.append(_section("model", f"`model` of `--detector {name}`", model))
    return "\n".join(tables)


def _section(prefix: str, heading: str, values: BaseModel) -> str:
    rows = [
        f"| `{path}` | {value} | {description} |" for path, value, description in _settings(prefix, values)
    ]
    return "\n".join([f"## {heading}", "", "| setting | default | meaning |", "|---|---|---|", *rows, ""])


def _settings(prefix: str, values: BaseModel) -> Iterator[tuple[str, str, str]]:
    """(path, default, description) of every setting below `prefix`."""
    for name, field in type(values).model_fields.items():
        value = getattr(values, name)
        if isinstance(value, BaseModel):
            yield from _settings(f"{prefix}.{name}", value)
        else:
            yield f"{prefix}.{name}", _shown(value), _escaped(field.description or "")


def _shown(value: object) -> str:
    """The value as `--set` takes it."""
    return f"`{_escaped(json.dumps(to_jsonable_python(value), ensure_ascii=False))}`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
