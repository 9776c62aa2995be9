"""Temporal annotations in the formats of other projects: segments by video name.

UCF-Crime's and XD-Violence's official text files.
"""

from collections.abc import Iterable
from pathlib import Path

from evaluate.annotations import AnnotationError, Segment, parse_segment, video_stem, xd_violence_codes
from extract.labels import XD_VIOLENCE_CODES
from extract.tables import read_lines


def import_ucf_crime_annotations(path: Path) -> dict[str, list[Segment]]:
    """Segments by video name (without extension) from UCF-Crime's `Temporal_Anomaly_Annotation.txt`.

    A line holds name, class and two pairs of start and end; a missing segment is -1 -1. Normal videos have an
    empty list. Further columns (the frame count of `test-frame-counts.tsv`) are ignored. Raises
    AnnotationError, naming the line.
    """
    annotations = {}
    for where, (name, label, *frames) in _lines(path, least=6):
        pairs = [(start, end) for start, end in (frames[0:2], frames[2:4]) if start != "-1"]
        annotations[video_stem(name)] = [parse_segment(label, start, end, where) for start, end in pairs]
    return annotations


def import_xd_violence_annotations(path: Path) -> dict[str, list[Segment]]:
    """Segments by video name (without extension) from one of XD-Violence's two annotation files.

    `annotations_multiclasses.txt` has a class code for each segment. `annotations.txt` has none and merges
    overlapping segments of different classes, so only videos whose name contains a single class can be read
    from it. Neither file lists normal videos. Raises AnnotationError, naming the line.
    """
    annotations = {}
    for where, (name, *values) in _lines(path, least=3):
        annotations[video_stem(name)] = [
            parse_segment(XD_VIOLENCE_CODES.get(code, code), start, end, where)
            for code, start, end in _xd_violence_rows(where, name, values)
        ]
    return annotations


def _xd_violence_rows(where: str, name: str, values: list[str]) -> list[tuple[str, str, str]]:
    """Class code, start and end of each segment in one line."""
    coded = values[0] in XD_VIOLENCE_CODES
    if len(values) % (3 if coded else 2):
        raise AnnotationError(f"{where}: the last segment is incomplete: {' '.join(values)}")
    if coded:
        return list(zip(values[0::3], values[1::3], values[2::3], strict=True))
    codes = xd_violence_codes(name)
    if len(codes) != 1:
        raise AnnotationError(
            f"{where}: {name} has the classes {', '.join(codes)}, and its segments have no class codes; "
            "use annotations_multiclasses.txt"
        )
    return [(codes[0], *pair) for pair in zip(values[0::2], values[1::2], strict=True)]


def _lines(path: Path, least: int) -> Iterable[tuple[str, list[str]]]:
    """Location and fields of each line that is not blank. AnnotationError for fewer than `least` fields."""
    for where, line in read_lines(path):
        values = line.split()
        if len(values) < least:
            raise AnnotationError(f"{where}: {len(values)} fields, expected at least {least}")
        yield where, values
