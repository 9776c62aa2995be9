"""The field's lists of feature arrays: the videos of a data set with their labels, splits and crops.

A row names one array, `/home/someone/UCF/Abuse028_x264__5.npy,Abuse`: crop 5 of the video Abuse028_x264. The
folders are those of somebody else's machine; only the end of a path counts. The published lists train on all
crops and test on one (UCF-Crime on crop 5, XD-Violence on crop 0).
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from extract.errors import InputError, MissingFileError
from extract.labels import NORMAL, XD_VIOLENCE_CODES
from extract.manifest import SPLITS, check_name, parse_labels
from extract.tables import Row, read_table


@dataclass(frozen=True)
class ListedVideo:
    """A video of one or more rows of a list."""

    name: str
    labels: tuple[str, ...]
    split: str
    arrays: tuple[PurePosixPath, ...]
    """Its arrays in the order of their rows, as written there; empty in a manifest, which names none."""
    where: str
    """File and line of the first row."""


def read_lists(paths: Sequence[Path], split: str | None = None) -> list[ListedVideo]:
    """The videos of several lists, or manifests of this project, in the order of their first rows.

    A list without a column `split` has the split `split` or, if that is None, `test` if its file name ends in
    test (`ucf_CLIP_rgbtest.csv`), else `train`. The listed files need not exist. Raises MissingFileError for
    a missing list, and InputError, naming the line, for an invalid row and for a video with different labels
    or splits.
    """
    videos: dict[str, ListedVideo] = {}
    for path in paths:
        for video in _rows(path, split or default_split(path)):
            first = videos.setdefault(video.name, video)
            if (first.labels, first.split) != (video.labels, video.split):
                raise InputError(
                    f"{video.where}: {video.name} is {'|'.join(video.labels)} of split {video.split}, but "
                    f"{'|'.join(first.labels)} of split {first.split} in {first.where}; correct one of them"
                )
            arrays = tuple(dict.fromkeys((*first.arrays, *video.arrays)))
            videos[video.name] = ListedVideo(first.name, first.labels, first.split, arrays, first.where)
    return list(videos.values())


def default_split(path: Path) -> str:
    """The split of a list without a column `split`, from its file name."""
    return "test" if re.search(r"test(ing)?$", path.stem, re.IGNORECASE) else "train"


def video_and_crop(stem: str) -> tuple[str, int | None]:
    """Video name and crop of an array's file name without suffix: `v__5` gives ("v", 5), `v` ("v", None)."""
    match = re.fullmatch(r"(.+)__(\d+)", stem)
    return (match[1], int(match[2])) if match else (stem, None)


def _rows(path: Path, split: str) -> Iterator[ListedVideo]:
    if not path.is_file():
        raise MissingFileError(f"no list at {path}; expected a manifest, or a CSV with path and label")
    for row in read_table(path, ("path",), ("labels", "label", "split", "name")):
        try:
            yield _parse_row(row, split)
        except InputError as error:
            raise InputError(f"{row.where}: {error}") from error


def _parse_row(row: Row, default: str) -> ListedVideo:
    text, split = row["labels"] or row["label"], row["split"].lower() or default
    if not row["path"] or not text:
        raise InputError("path or label is empty; expected both")
    if split not in SPLITS:
        raise InputError(f"split is {split!r}, expected {', '.join(SPLITS)}")
    path = PurePosixPath(row["path"].replace("\\", "/"))
    is_array = path.suffix.lower() == ".npy"
    name = row["name"] or (video_and_crop(path.stem)[0] if is_array else path.stem)
    check_name(name)
    return ListedVideo(name, _labels(text), split, (path,) if is_array else (), row.where)


def _labels(text: str) -> tuple[str, ...]:
    """Labels as in a manifest (`fighting|riot`), of UCF-Crime (`RoadAccidents`) or XD-Violence (`B2-G-0`)."""
    codes = [code for code in text.split("-") if code != "0"]
    if codes and all(code in XD_VIOLENCE_CODES for code in codes):
        return tuple(dict.fromkeys(XD_VIOLENCE_CODES[code] for code in codes))
    return (NORMAL,) if text.lower().startswith(NORMAL) else parse_labels(text)
