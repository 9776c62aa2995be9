"""Names of score files matched with the names of videos; only where one video fits."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from difflib import get_close_matches

from extract.display import shortened
from extract.errors import InputError

_SIMILARITY = 0.6
_SEPARATORS = "_-. "
_VIDEO_SUFFIX = r"\.(mp4|mkv|avi|mov|webm|m4v|mpg|mpeg|ts|wmv|flv)$"


@dataclass(frozen=True)
class MatchedNames:
    """File names by video, in the order of the videos."""

    files: dict[str, str]
    missing: tuple[str, ...]
    """Videos without a file."""
    unknown: tuple[str, ...]
    """Files of no video."""
    affix: str = ""
    """Text that every file name has before or after the video's name, such as `_pred`; empty without."""


def match_names(names: Iterable[str], videos: Sequence[str]) -> MatchedNames:
    """The file of each video.

    A file name is the video's, with or without the suffix of a video, a crop (`__5`) or folders in front, in
    any case if only one video fits. If no file has such a name, they may all have the same addition before or
    after the name (`_pred`).
    Raises InputError if two files are of one video.
    """
    found: dict[str, str] = {}
    rest: list[str] = []
    exact, folded = set(videos), _unique({video: video.casefold() for video in videos})
    for name in names:
        video = next((form for form in _forms(name) if form in exact), None) or next(
            (folded[form.casefold()] for form in _forms(name) if form.casefold() in folded), None
        )
        if video is None:
            rest.append(name)
        else:
            _add(found, video, name)
    prefix, suffix = ("", "") if found else _common_affix(rest, exact)
    if prefix or suffix:
        for name in rest.copy():
            video = _forms(name)[-1].removeprefix(prefix).removesuffix(suffix)
            if video in exact:
                _add(found, video, name)
                rest.remove(name)
    return MatchedNames(
        {video: found[video] for video in videos if video in found},
        tuple(video for video in videos if video not in found),
        tuple(rest),
        prefix or suffix,
    )


def describe_missing(matched: MatchedNames, videos: int) -> str:
    """The videos without scores, with the file of the most similar name where there is one."""
    named = (f"{video}{_nearest(video, matched.unknown)}" for video in matched.missing)
    return (
        f"no scores of {len(matched.missing)} of the {videos} test videos: "
        f"{shortened(named, len(matched.missing))}"
    )


def _nearest(video: str, names: Sequence[str]) -> str:
    close = get_close_matches(video, names, n=1, cutoff=_SIMILARITY)
    return f" (nearest: {close[0]})" if close else ""


def _forms(name: str) -> list[str]:
    """The name, and what remains of it without folders, a crop and the suffix of a video."""
    base = name.replace("\\", "/").rpartition("/")[2]
    bare = re.sub(_VIDEO_SUFFIX, "", base, flags=re.IGNORECASE)
    forms = [name, base, bare]
    forms += [re.sub(r"__\d+$", "", form) for form in (base, bare)]
    forms += [re.sub(_VIDEO_SUFFIX, "", forms[-1], flags=re.IGNORECASE)]
    return list(dict.fromkeys(forms))


def _unique(keys: dict[str, str]) -> dict[str, str]:
    """Videos by their key, without keys that two videos have."""
    counts: dict[str, list[str]] = {}
    for video, key in keys.items():
        counts.setdefault(key, []).append(video)
    return {key: found[0] for key, found in counts.items() if len(found) == 1}


def _add(found: dict[str, str], video: str, name: str) -> None:
    if video in found:
        raise InputError(
            f"{found[video]} and {name} are both scores of the video {video}; keep one (of several crops, "
            "their mean)"
        )
    found[video] = name


def _common_affix(names: Sequence[str], videos: Set[str]) -> tuple[str, str]:
    """Prefix and suffix (one of them empty) that names of several videos have; both empty if there is none.

    Only one addition may fit, it has a letter (`cam1` is not `cam10`), and `_`, `-`, `.` or a space beside
    the video's name.
    """
    counts: Counter[tuple[str, str]] = Counter()
    for name in (_forms(name)[-1] for name in names):
        for i in range(1, len(name)):
            if name[:i] in videos and name[i] in _SEPARATORS:
                counts[("", name[i:])] += 1
            if name[i:] in videos and name[i - 1] in _SEPARATORS:
                counts[(name[:i], "")] += 1
    lettered = {affix: n for affix, n in counts.items() if n > 1 and re.search("[a-z]", "".join(affix), re.I)}
    return next(iter(lettered)) if len(lettered) == 1 else ("", "")
