"""Scores in JSON: a list of scores, a mapping from video to scores, or a list of records."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluate.foreign_scores.content import POSITIONS, Content, Values, array_of, number, refuse_disorder
from evaluate.foreign_scores.intervals import VIDEOS, interval_keys, interval_of
from extract.errors import InputError
from extract.tables import read_text

_EXPECTED = (
    "expected a list of scores, {video: scores}, or records {video, start_s, end_s, score} or "
    "{video, start_frame, end_frame, score}"
)


def read_json(path: Path) -> Content:
    """The scores of one JSON file. Raises InputError, naming the place, for another structure."""
    try:
        content = json.loads(read_text(path).removeprefix("\ufeff"))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}, line {error.lineno}: not JSON ({error.msg}); {_EXPECTED}") from None
    except RecursionError:
        raise InputError(f"{path}: lists inside lists, too deep to read; {_EXPECTED}") from None
    if isinstance(content, dict) and isinstance(content.get("results"), dict):
        content = content["results"]  # the format of ActivityNet's detections
    if isinstance(content, dict) and not content.keys() & {"score", "scores"}:
        if not content:
            raise InputError(f"{path}: no video; {_EXPECTED}")
        return Content({str(name): _values(one, f"{path}, {name}") for name, one in content.items()})
    if isinstance(content, list) and content and all(isinstance(one, dict) for one in content):
        return _records(content, path)
    return Content(unnamed=_values(content, str(path)))


def _records(records: list[dict[str, Any]], path: Path) -> Content:
    """Records of named videos, or intervals of one video."""
    keys = [_video_key(record) for record in records]
    if not any(keys):
        return Content(unnamed=_values(records, str(path)))
    parts: dict[str, list[dict[str, Any]]] = {}
    for index, (record, key) in enumerate(zip(records, keys, strict=True)):
        if key is None:
            raise InputError(f"{path}, record {index}: no video; {_EXPECTED}")
        parts.setdefault(str(record[key]), []).append(record)
    return Content({name: _of_video(found, f"{path}, {name}") for name, found in parts.items()})


def _video_key(record: Mapping[str, Any]) -> str | None:
    return next((key for key in VIDEOS if key in record), None)


def _of_video(records: list[dict[str, Any]], where: str) -> Values:
    if any("scores" in record for record in records):
        if len(records) > 1:
            raise InputError(f"{where}: {len(records)} records with scores; expected one a video")
        return _values(records[0], where)
    return _values(records, where)


def _values(content: Any, where: str) -> Values:
    """Scores, class scores or intervals of one video; an empty list is no interval."""
    if isinstance(content, dict) and "scores" in content:
        content = content["scores"]
    elif isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise InputError(f"{where}: {str(content)[:40]!r}; {_EXPECTED}")
    if all(isinstance(one, dict) for one in content):
        return _of_records([_with_ends(one) for one in content], where)
    if all(isinstance(one, list) for one in content):
        rows = ([number(one, f"{where}, row {i}: a value") for one in row] for i, row in enumerate(content))
        return array_of(rows, where)
    return array_of((number(one, f"{where}: value {i}") for i, one in enumerate(content)), where)


def _with_ends(record: dict[str, Any]) -> dict[str, Any]:
    """The record with `segment: [start, end]` as start and end."""
    segment = record.get("segment")
    if isinstance(segment, list) and len(segment) == 2:
        return {**record, "start": segment[0], "end": segment[1]}
    return record


def _of_records(records: list[dict[str, Any]], where: str) -> Values:
    """Intervals, or one score a record."""
    ends = interval_keys(list(records[0])) if records else None
    places = [f"{where}, record {index}" for index in range(len(records))]
    if ends or not records:
        return tuple(
            interval_of(one, ends, place) for one, place in zip(records, places, strict=True) if ends
        )
    if "score" not in records[0]:
        raise InputError(f"{where}: no score among {', '.join(map(str, records[0]))[:80]!r}; {_EXPECTED}")
    pairs = list(zip(records, places, strict=True))
    position = next((name for name in POSITIONS if name in records[0]), None)
    if position:
        refuse_disorder([(at, number(one.get(position), f"{at}: {position}")) for one, at in pairs])
    return array_of((number(one.get("score"), f"{at}: score") for one, at in pairs), where)
