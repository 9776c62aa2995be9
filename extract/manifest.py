"""The videos of a data set: the manifest CSV, and the official lists of UCF-Crime and XD-Violence."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from extract.atomic import write_atomically
from extract.display import encodable, printable
from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL, XD_VIOLENCE_CODES
from extract.remote.listings import one_listing
from extract.remote.path import AnyPath, RemotePath, files_below, read_listings
from extract.tables import Row, list_folder, listed_path, path_resolver, read_lines, read_table, stored_path

SPLITS = ("train", "val", "test", "audit")
VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg", ".ts", ".wmv", ".flv")


@dataclass(frozen=True)
class VideoRecord:
    """One video of a data set."""

    name: str
    """Unique in its data set; also the stem of its feature and score files."""
    path: AnyPath
    labels: tuple[str, ...]
    """Lower-case class names; (`normal`,) for a video without anomalies."""
    split: str
    """`train`, `val`, `test` or `audit`; retraining reports figures on `audit`, and nothing else uses it."""


@dataclass(frozen=True)
class ImportedDataset:
    """Result of an import: records of the videos found, names of the listed videos without a file."""

    records: list[VideoRecord]
    missing: list[str]


@one_listing()
def read_manifest(
    path: AnyPath, *, needs_no_file: Callable[[VideoRecord], bool] = lambda record: False
) -> list[VideoRecord]:
    """Read a CSV with the columns path, labels (joined by `|`), split and, optionally, name.

    Paths may be addresses of objects in a store; relative ones are relative to the manifest's folder. `name`
    defaults to the stem of the path; other columns are ignored. Encodings, delimiters and headings are those
    of `extract.tables`.

    Args:
        path: The manifest, a file or an object in a store.
        needs_no_file: Returns True for a video that may be missing, because its features exist, for example.

    Raises:
        MissingFileError: There is no manifest.
        InputError: It lists no videos, or a row is invalid or names a video file that does not exist. The
            message names the line of the file.
    """
    if not path.is_file():
        raise MissingFileError(f"no manifest at {path}; expected a CSV with the columns path, labels, split")
    rows = read_table(path, ("path", "labels", "split"), ("name",))
    if not rows:
        raise InputError(f"{path} lists no videos")
    records, base = [], list_folder(path)
    for row in rows:
        try:
            records.append(_parse_row(row, base))
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from error
    _refuse_duplicates(rows, records)
    _refuse_missing_files(rows, records, needs_no_file)
    return records


def write_manifest(path: Path, records: Iterable[VideoRecord]) -> None:
    """Write a manifest atomically; paths below its folder are stored relative to it.

    Raises OSError if the disk refuses, and InputError for a path that is no valid text; an existing manifest
    is then unchanged.
    """
    base = path.parent.resolve()
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["path", "labels", "split", "name"])
    for record in records:
        stored = stored_path(base, record.path.resolve())
        writer.writerow([stored, "|".join(record.labels), record.split, record.name])
    try:
        write_atomically(path, text.getvalue().encode())
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path} can't be written: the path of a video is not UTF-8 ({error.object[error.start]!a}); "
            "rename the file or its folder"
        ) from error


def parse_labels(text: str) -> tuple[str, ...]:
    """The lower-case labels of `fighting|shooting`, without duplicates.

    Raises ValueError for an empty label, or `normal` combined with others.
    """
    labels = tuple(dict.fromkeys(part.strip().lower() for part in text.split("|")))
    if not all(labels):
        raise InputError(f"labels are {text!r}, expected one or more, joined by `|`, or `normal`")
    if NORMAL in labels and len(labels) > 1:
        raise InputError(f"labels are {text!r}: `normal` excludes every other label")
    if not all(label.isprintable() for label in labels):
        raise InputError(f"labels are {text!r}: a line break or control character; is a quote not closed?")
    if any(mark in label for label in labels for mark in ",;"):
        raise InputError(f"labels are {text!r}: join several labels by `|`")
    return labels


def check_name(name: str) -> None:
    """Raises InputError for a video name that cannot be the stem of a file."""
    if not name or name.startswith(".") or set(name) & {"/", "\\", "\0"} or encodable(name) != name:
        raise InputError(
            f"name '{printable(name)}' can't be a file name: no path separators, no leading dot, only UTF-8"
        )


def import_ucf_crime(lists: Path, videos: AnyPath) -> ImportedDataset:
    """Records of UCF-Crime, from its lists `Anomaly_Train.txt` and `Anomaly_Test.txt` in `lists`.

    Video files are searched by stem in `videos`, a folder or an address, and below it. Raises
    MissingFileError for a missing list or folder, and InputError for an invalid line or two files of one
    stem.
    """
    entries: dict[str, _Entry] = {}
    for split in ("train", "test"):
        for where, line in _official_lines(lists / f"Anomaly_{split.capitalize()}.txt"):
            video = Path(line.replace("\\", "/"))
            if not video.parent.name:
                raise InputError(
                    f"{where}: {line!r} has no folder, which names the class; expected CLASS/VIDEO"
                )
            _add_entry(entries, video.stem, _Entry(where, (_ucf_label(video.parent.name),), split))
    return _locate_videos(entries, videos)


def import_xd_violence(lists: Path, videos: AnyPath) -> ImportedDataset:
    """Records of XD-Violence, with the labels encoded in the video names (`…_label_B2-G-0`).

    The splits are those of the commonly used feature lists, `xd_CLIP_rgb.csv` and `xd_CLIP_rgbtest.csv` in
    `lists`. Video files are searched by stem in `videos` and its subfolders. Raises MissingFileError for a
    missing list or folder, and InputError for a name without label codes or two files of one stem.
    """
    entries: dict[str, _Entry] = {}
    for split, file_name in (("train", "xd_CLIP_rgb.csv"), ("test", "xd_CLIP_rgbtest.csv")):
        for row in _official_rows(lists / file_name):
            name = re.sub(r"__\d+\.npy$", "", row["path"].rpartition("/")[2])
            _add_entry(entries, name, _Entry(row.where, _xd_labels(name, row.where), split))
    return _locate_videos(entries, videos)


def _parse_row(row: Row, base: AnyPath) -> VideoRecord:
    if not row["path"]:
        raise InputError("path is empty")
    path = listed_path(base, row["path"])
    name = row["name"] or path.stem
    check_name(name)
    labels, split = parse_labels(row["labels"]), row["split"].lower()
    if split not in SPLITS:
        raise InputError(f"split is {row['split']!r}, expected one of {', '.join(SPLITS)}")
    return VideoRecord(name, path, labels, split)


def _refuse_duplicates(rows: Sequence[Row], records: Sequence[VideoRecord]) -> None:
    seen: dict[object, int] = {}
    resolve = path_resolver()
    for row, record in zip(rows, records, strict=True):
        for key in (record.name, resolve(record.path)):
            if key in seen:
                raise InputError(
                    f"{row.where}: {key} is already in line {seen[key]}; "
                    "give each video once, and a column `name` where file names repeat"
                )
            seen[key] = row.line


def _refuse_missing_files(
    rows: Sequence[Row], records: Sequence[VideoRecord], needs_no_file: Callable[[VideoRecord], bool]
) -> None:
    needed = [
        (row, record.path) for row, record in zip(rows, records, strict=True) if not needs_no_file(record)
    ]
    read_listings(path for _, path in needed)
    missing = [f"{row.where}: no file at {path}" for row, path in needed if not path.is_file()]
    if missing:
        more = f" (and {len(missing) - 1} more rows without a file)" if len(missing) > 1 else ""
        raise InputError(f"{missing[0]}{more}; correct the path, or delete the row")


@dataclass(frozen=True)
class _Entry:
    """A video of an official list: file and line of its first row, labels and split."""

    where: str
    labels: tuple[str, ...]
    split: str


def _add_entry(entries: dict[str, _Entry], name: str, entry: _Entry) -> None:
    """Add a video; a list may name it more than once, but not with other labels or in both splits."""
    first = entries.setdefault(name, entry)
    if (first.labels, first.split) != (entry.labels, entry.split):
        raise InputError(f"{entry.where}: {name} has other labels or another split than in {first.where}")


def _locate_videos(entries: dict[str, _Entry], videos: AnyPath) -> ImportedDataset:
    files: dict[str, list[AnyPath]] = {}
    for path in _files_in(videos):
        if path.stem in entries and path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            files.setdefault(path.stem, []).append(path)
    _refuse_same_stems(files)
    records = [
        VideoRecord(name, files[name][0], entry.labels, entry.split)
        for name, entry in entries.items()
        if name in files
    ]
    return ImportedDataset(records, [name for name in entries if name not in files])


def _files_in(videos: AnyPath) -> Sequence[AnyPath]:
    """What is in a folder or below an address, sorted. Raises MissingFileError if there is nothing."""
    if isinstance(videos, RemotePath):
        if found := files_below(videos):
            return found
        raise MissingFileError(f"nothing at {videos}; expected the data set's videos there or below it")
    if not videos.is_dir():
        raise MissingFileError(f"no folder {videos}; expected the data set's videos in it or its subfolders")
    return sorted(videos.rglob("*"))


def _refuse_same_stems(files: dict[str, list[AnyPath]]) -> None:
    """Links to one file are no collision."""
    repeated = [paths for paths in files.values() if len({path.resolve() for path in paths}) > 1]
    if repeated:
        more = f", and {len(repeated) - 1} more videos likewise" if len(repeated) > 1 else ""
        raise InputError(
            f"{repeated[0][0]} and {repeated[0][1]} have the name of one video of the list{more}; "
            "keep one file of each, or give --videos a folder with one"
        )


def _ucf_label(folder: str) -> str:
    return NORMAL if "Normal" in folder else folder.lower()


def _xd_labels(name: str, where: str) -> tuple[str, ...]:
    codes = [code for code in name.rpartition("_label_")[2].split("-") if code != "0"]
    unknown = [code for code in codes if code not in XD_VIOLENCE_CODES]
    if unknown or not codes:
        raise InputError(
            f"{where}: {name} has no XD-Violence labels at its end, expected _label_ and codes of "
            f"{', '.join(XD_VIOLENCE_CODES)}, joined by -"
        )
    return tuple(XD_VIOLENCE_CODES[code] for code in codes)


def _official_lines(path: Path) -> list[tuple[str, str]]:
    _require_list(path)
    return read_lines(path)


def _official_rows(path: Path) -> list[Row]:
    _require_list(path)
    return read_table(path, ("path", "label"))


def _require_list(path: Path) -> None:
    if not path.is_file():
        raise MissingFileError(f"no list {path}; expected the data set's official lists in {path.parent}")
