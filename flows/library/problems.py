"""Videos that could not be read: when they are tried again, trying them, and summaries by reason.

A probe can fail for a passing reason, for example for lack of memory or because of a slow disk. The library
therefore keeps when a failed video is tried again (`extract.retry_times`).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from extract.display import MOST_NAMES, shortened
from extract.remote.cache import fetch_reason, local_copy
from flows.library.prober import unusable_reason
from flows.library.records import Problem, Video

if TYPE_CHECKING:
    from flows.library.library import Library


@dataclass
class Recheck:
    """The outcome of trying videos again. `missing` are those whose files are gone."""

    readable: list[Video] = field(default_factory=list)
    unreadable: list[tuple[Video, str]] = field(default_factory=list)
    missing: list[Video] = field(default_factory=list)


@dataclass(frozen=True)
class ProblemGroup:
    """Files with the same reason, apart from the numbers in it."""

    reason: str
    """The reason of the first file."""
    files: tuple[str, ...]

    @property
    def shown(self) -> str:
        """The first ten files and the number of the others."""
        return shortened(self.files, most=MOST_NAMES)


def due(problems: Iterable[Problem], now: datetime) -> list[Video]:
    """The videos whose next try is not later than `now`."""
    return [problem.video for problem in problems if problem.next_at <= now]


def recheck(library: "Library", videos: Iterable[Video]) -> Recheck:
    """Probe these videos and record in the library whether they can be read."""
    result = Recheck()
    for video in videos:
        path = video.path
        if not path.is_file():
            result.missing.append(video)
            continue
        try:
            with local_copy(path) as file:
                reason = unusable_reason(file)
        except FileNotFoundError:
            result.missing.append(video)
            continue
        except OSError as error:
            reason = fetch_reason(error)
        library.record_probe(video.digest, reason)
        if reason:
            result.unreadable.append((video, reason))
        else:
            result.readable.append(video)
    return result


def grouped_by_reason(problems: Iterable[tuple[str, str]]) -> Sequence[ProblemGroup]:
    """Groups of pairs (file, reason), the largest first; reasons that differ in numbers only are one."""
    reasons: dict[str, str] = {}
    files: dict[str, list[str]] = {}
    for file, reason in problems:
        kind = re.sub(r"\d+", "0", reason)
        reasons.setdefault(kind, reason)
        files.setdefault(kind, []).append(file)
    groups = [ProblemGroup(reasons[kind], tuple(names)) for kind, names in files.items()]
    return sorted(groups, key=lambda group: -len(group.files))
