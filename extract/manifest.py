"""The videos of a data set: the manifest CSV, and the official lists of UCF-Crime and XD-Violence."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.atomic import write_atomically
from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL, XD_VIOLENCE_CODES

SPLITS = ("train", "val", "test")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")


class ManifestError(InputError):
    """An invalid manifest; the message names the file and the row."""


@dataclass(frozen=True)
class VideoRecord:
    """One video of a data set."""

    name: str
    """Unique in its data set; also the stem of its feature and score files."""
    path: Path
    labels: tuple[str, ...]
    """Lower-case class names; (`normal`,) for a video without anomalies."""
    split: str
    """`train`, `val` or `test`."""


@dataclass(frozen=True)
class ImportedDataset:
    """Result of an import: records of the videos found, names of the listed videos without a file."""

    records: list[VideoRecord]
    missing: list[str]


def read_manifest(path: Path) -> list[VideoRecord]:
    """Read a CSV with the columns path, labels (joined by `|`), split and, optionally, name.

    Relative paths are relative to the manifest's folder; `name` defaults to the stem of the path; other
    columns are ignored. Raises FileNotFoundError, or ManifestError naming the row (the header is row 1).
    """
    if not path.is_file():
        raise MissingFileError(f"no manifest at {path}; expected a CSV with the columns path, labels, split")
    with path.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        missing = {"path", "labels", "split"} - set(reader.fieldnames or ())
        if missing:
            raise ManifestError(
                f"{path}: column {', '.join(sorted(missing))} is missing; needed: path, labels, split"
            )
        rows = [(reader.line_num, row) for row in reader]
    if not rows:
        raise ManifestError(f"{path} lists no videos")
    records: list[VideoRecord] = []
    for line, row in rows:
        try:
            records.append(_parse_row(row, path.parent))
        except ValueError as error:
            raise ManifestError(f"{path}, row {line}: {error}") from error
    _refuse_duplicates(path, [line for line, _ in rows], records)
    return records


def write_manifest(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write a manifest atomically; paths below its folder are stored relative to it.

    Raises OSError if the disk refuses; an existing manifest is then unchanged.
    """
    base = path.parent.resolve()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "labels", "split", "name"])
    for record in records:
        video = record.path.resolve()
        stored = video.relative_to(base) if video.is_relative_to(base) else video
        writer.writerow([stored.as_posix(), "|".join(record.labels), record.split, record.name])
    write_atomically(path, text.getvalue())


def parse_labels(text: str) -> tuple[str, ...]:
    """The lower-case labels of `fighting|shooting`, without duplicates.

    Raises ValueError for an empty label, or `normal` combined with others.
    """
    labels = tuple(dict.fromkeys(part.strip().lower() for part in text.split("|")))
    if not all(labels):
        raise InputError(f"labels are {text!r}, expected one or more, joined by `|`, or `normal`")
    if NORMAL in labels and len(labels) > 1:
        raise InputError(f"labels are {text!r}: `normal` excludes every other label")
    return labels


def import_ucf_crime(lists: Path, videos: Path) -> ImportedDataset:
    """Records of UCF-Crime, from its lists `Anomaly_Train.txt` and `Anomaly_Test.txt` in `lists`.

    Video files are searched by stem in `videos` and its subfolders. Raises FileNotFoundError for a missing
    list or folder.
    """
    entries = [
        (Path(line).stem, (_ucf_label(Path(line).parent.name),), split)
        for split in ("train", "test")
        for line in _read_list(lists / f"Anomaly_{split.capitalize()}.txt")
    ]
    return _locate_videos(entries, videos)


def import_xd_violence(lists: Path, videos: Path) -> ImportedDataset:
    """Records of XD-Violence, with the labels encoded in the video names (`…_label_B2-G-0`).

    The splits are those of the commonly used feature lists, `xd_CLIP_rgb.csv` and `xd_CLIP_rgbtest.csv` in
    `lists`. Video files are searched by stem in `videos` and its subfolders. Raises FileNotFoundError for a
    missing list or folder, and ValueError for a name without label codes.
    """
    entries = []
    for split, file_name in (("train", "xd_CLIP_rgb.csv"), ("test", "xd_CLIP_rgbtest.csv")):
        paths = [line.rpartition(",")[0] for line in _read_list(lists / file_name)[1:]]
        names = dict.fromkeys(re.sub(r"__\d+\.npy$", "", path.rpartition("/")[2]) for path in paths)
        entries += [(name, _xd_labels(name), split) for name in names]
    return _locate_videos(entries, videos)


def _parse_row(row: dict[str, str], base: Path) -> VideoRecord:
    if not row["path"]:
        raise InputError("path is empty")
    path = base / row["path"]
    name = row.get("name") or path.stem
    if not name or name.startswith(".") or set(name) & {"/", "\\", "\0"}:
        raise InputError(f"name {name!r} can't be a file name: no path separators, no leading dot")
    labels = parse_labels(row["labels"] or "")
    if row["split"] not in SPLITS:
        raise InputError(f"split is {row['split']!r}, expected one of {', '.join(SPLITS)}")
    if not path.is_file():
        raise InputError(f"no file at {path}")
    return VideoRecord(name, path, labels, row["split"])


def _refuse_duplicates(manifest: Path, lines: list[int], records: list[VideoRecord]) -> None:
    seen: dict[object, int] = {}
    for line, record in zip(lines, records, strict=True):
        for key in (record.name, record.path.resolve()):
            if key in seen:
                raise ManifestError(
                    f"{manifest}, row {line}: {key} is already in row {seen[key]}; "
                    "give each video once, and a column `name` where file names repeat"
                )
            seen[key] = line


def _locate_videos(entries: Sequence[tuple[str, tuple[str, ...], str]], videos: Path) -> ImportedDataset:
    if not videos.is_dir():
        raise MissingFileError(f"no folder {videos}; expected the data set's videos in it or its subfolders")
    files = {path.stem: path for path in sorted(videos.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES}
    records = [
        VideoRecord(name, files[name], labels, split) for name, labels, split in entries if name in files
    ]
    return ImportedDataset(records, [name for name, _, _ in entries if name not in files])


def _ucf_label(folder: str) -> str:
    return NORMAL if "Normal" in folder else folder.lower()


def _xd_labels(name: str) -> tuple[str, ...]:
    codes = [code for code in name.rpartition("_label_")[2].split("-") if code != "0"]
    unknown = [code for code in codes if code not in XD_VIOLENCE_CODES]
    if unknown or not codes:
        raise InputError(
            f"{name} has no XD-Violence labels at its end, expected _label_ and codes of "
            f"{', '.join(XD_VIOLENCE_CODES)}, joined by -"
        )
    return tuple(XD_VIOLENCE_CODES[code] for code in codes)


def _read_list(path: Path) -> list[str]:
    if not path.is_file():
        raise MissingFileError(f"no list {path}; expected the data set's official lists in {path.parent}")
    return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
