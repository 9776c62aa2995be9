"""Scores in CSV: a column of scores, columns of classes, or rows of intervals; of one video or of several.

Without headings, every row has the values of one frame or snippet, in the order of time.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from evaluate.foreign_scores.content import POSITIONS, Content, Values, array_of, number, refuse_disorder
from evaluate.foreign_scores.intervals import VIDEOS, interval_keys, interval_of
from extract.errors import InputError
from extract.tables import Row, read_lines, read_table

SCORES = ("score", "anomaly_score", "anomaly")
_MARKS = r"[,;\t]"


def read_csv(path: Path, columns: Mapping[str, str]) -> Content:
    """The scores of one CSV file; `columns` maps headings of class columns to class names.

    Raises InputError, naming the line, for a file without scores, or whose rows are not in the order of time.
    """
    lines = read_lines(path)
    if not lines:
        raise InputError(f"{path} is empty; expected scores, one row a frame, snippet or interval")
    headings = _headings(lines[0][1])
    if all(_is_number(heading) for heading in headings):
        return Content(unnamed=_bare(lines))
    video = next((name for name in VIDEOS if name in headings), None)
    wanted = _score_columns(path, headings, columns)
    rows = read_table(path, (*([video] if video else []), *wanted))
    if not rows:
        raise InputError(f"{path} has headings and no rows; expected one row a frame, snippet or interval")
    if video is None:
        return Content(unnamed=_values(rows, headings, wanted))
    groups: dict[str, list[Row]] = {}
    for row in rows:
        if not row[video]:
            raise InputError(f"{row.where}: {video} is empty; name the video")
        groups.setdefault(row[video], []).append(row)
    return Content({name: _values(found, headings, wanted) for name, found in groups.items()})


def _headings(line: str) -> list[str]:
    """The values of the first line, as `read_table` compares headings."""
    parts = [part.strip().strip('"').strip() for part in re.split(_MARKS, line)]
    if len(parts) == 1 and all(_is_number(word) for word in line.split()):
        return line.split()
    return [re.sub(r"[\s_-]+", "_", part.casefold()) for part in parts]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _bare(lines: Sequence[tuple[str, str]]) -> Values:
    rows = [
        [number(part.strip(), f"{where}: a value") for part in re.split(rf"\s*{_MARKS}\s*|\s+", line) if part]
        for where, line in lines
    ]
    return array_of(rows, lines[0][0].rpartition(", line")[0])


def _score_columns(path: Path, headings: Sequence[str], columns: Mapping[str, str]) -> list[str]:
    """The columns with values: the classes in their order, or start, end and score, or a score alone."""
    if columns and set(columns) <= set(headings):
        return list(columns)
    score = next((name for name in SCORES if name in headings), None)
    ends = interval_keys(headings)
    if ends and score == "score":
        return [ends[0], ends[1], score]
    if score is None and len(headings) == 1:
        score = headings[0]
    if score is None:
        classes = f", or the classes {', '.join(columns)}" if columns else ""
        raise InputError(
            f"{path}: no column score among {', '.join(headings)[:80]!r}; expected score{classes}, with the "
            "column video if the file has several videos"
        )
    return [score]


def _values(rows: Sequence[Row], headings: Sequence[str], wanted: Sequence[str]) -> Values:
    ends = interval_keys(headings)
    if ends and set(ends[:2]) <= set(wanted):
        return tuple(interval_of(row.values, ends, row.where) for row in rows)
    position = next((name for name in POSITIONS if name in headings), None)
    if position:
        refuse_disorder([(row.where, number(row[position], f"{row.where}: {position}")) for row in rows])
    found = [[number(row[name], f"{row.where}: {name}") for name in wanted] for row in rows]
    return array_of(found, rows[0].where)
