"""Videos that failed: which of them an extraction does not try again yet, and the list that a run writes.

A failed video waits until its file or the settings that decide about it change, or its next try is due.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timezone
from functools import cache
from pathlib import Path

import extract.decode
from extract.config import ExtractConfig, ExtractRuntime
from extract.decode.worker import Failed
from extract.errors import InputError
from extract.failures import Failure, append_failure, read_failures, write_failures
from extract.manifest import VideoRecord
from extract.remote.path import AnyPath
from extract.retry_times import next_try
from extract.store import feature_path

FileStamp = tuple[int | None, int | None, int | None]
"""Size in bytes, modification time and change time in ns of a file; None without one."""

_DECODERS = ("av", "decord", "decord2", "torchcodec")
"""Distributions whose versions decide whether a video can be decoded."""


def now() -> datetime:
    """Current time in UTC, in whole seconds as the failure list stores it."""
    return datetime.now(timezone.utc).replace(microsecond=0)


def file_stamp(path: AnyPath) -> FileStamp:
    """Size and times of a file, to see later whether it has changed."""
    try:
        status = path.stat()
    except OSError:
        return None, None, None
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def settings_digest(config: ExtractConfig, runtime: ExtractRuntime) -> str:
    """Digest of everything but the file that decides whether a video can be extracted."""
    settings = (asdict(config.sampling), runtime.decoder, runtime.partial, runtime.timeout_s)
    return hashlib.sha256(json.dumps([settings, _decoders()]).encode()).hexdigest()[:16]


def waiting_failures(
    records: Iterable[VideoRecord], features_dir: Path, config: ExtractConfig, runtime: ExtractRuntime
) -> dict[str, Failure]:
    """The failures, by name, of the videos without features that are not to be tried again yet."""
    return _waiting(records, _listed(features_dir), features_dir, config, runtime)


def _listed(features_dir: Path) -> dict[str, Failure]:
    return {failure.name: failure for failure in read_failures(features_dir)}


def _waiting(
    records: Iterable[VideoRecord],
    failures: Mapping[str, Failure],
    features_dir: Path,
    config: ExtractConfig,
    runtime: ExtractRuntime,
) -> dict[str, Failure]:
    if not failures:
        return {}
    tried_with, at = settings_digest(config, runtime), now()
    return {
        record.name: failure
        for record in records
        if (failure := failures.get(record.name)) is not None
        and _is_same_try(failure, file_stamp(record.path), tried_with)
        and _is_waiting(failure, at)
        and not feature_path(features_dir, record.name).exists()
    }


def end_wait(features_dir: Path, names: Collection[str]) -> list[Failure]:
    """Let the next run try these videos, where they have failed; returns their failures."""
    failures = read_failures(features_dir)
    chosen = [failure for failure in failures if failure.name in names]
    if chosen:
        due = {failure.name: replace(failure, next_at=failure.tried_at) for failure in chosen}
        write_failures(features_dir, [due.get(failure.name, failure) for failure in failures])
    return chosen


class FailureLog:
    """The failures of one run; each is on the disk at once, and the failures of other videos stay listed."""

    def __init__(
        self,
        features_dir: Path,
        config: ExtractConfig,
        runtime: ExtractRuntime,
        records: Iterable[VideoRecord],
        may_wait: Iterable[VideoRecord],
    ) -> None:
        """`records` are all videos of the run, whose earlier failures are replaced.

        Of the videos `may_wait`, those that are not to be tried again yet stay listed.
        """
        listed = _listed(features_dir)
        self.waiting = _waiting(may_wait, listed, features_dir, config, runtime)
        """Failures, by name, of the videos that are not to be tried again yet."""
        self._features_dir = features_dir
        self._tried_with = settings_digest(config, runtime)
        self._before = {r.name: listed.pop(r.name) for r in records if r.name in listed}
        self._others = list(listed.values())
        self._found = dict(self.waiting)
        self._begun = False

    @property
    def failures(self) -> list[Failure]:
        """The failures of the run's videos, the waiting ones first."""
        return list(self._found.values())

    def add(self, record: VideoRecord, failed: Failed, file: FileStamp) -> None:
        """List a failed try; `file` is the state of the video before it.

        Raises OSError if the disk refuses.
        """
        before = self._before.get(record.name)
        again = before is not None and _is_same_try(before, file, self._tried_with)
        attempts, at = (before.attempts if before and again else 0) + 1, now()
        self._found[record.name] = failure = Failure(
            record.name,
            record.path,
            failed.reason,
            failed.frame,
            *file,
            attempts=attempts,
            tried_at=at,
            next_at=next_try(at, attempts, failed.first_wait_s),
            tried_with=self._tried_with,
        )
        if self._begun:
            append_failure(self._features_dir, failure)
        else:  # the list of an earlier run may have rows of these videos
            self._write()

    def write(self) -> None:
        """Write the list, sorted. Raises InputError if the disk refuses."""
        try:
            self._write()
        except OSError as error:
            first = next(iter(self._found.values()), None)
            raise InputError(
                f"the failure list can't be written to {self._features_dir}: {error.strerror}; "
                f"{len(self._found)} videos failed"
                + (f", {first.name} first: {first.reason}" if first else "")
            ) from error

    def _write(self) -> None:
        write_failures(self._features_dir, [*self._others, *self._found.values()])
        self._begun = True


def _is_same_try(failure: Failure, file: FileStamp, tried_with: str) -> bool:
    """True if another try would be of the same file, with the same settings and decoders."""
    return (failure.size, failure.mtime_ns, failure.ctime_ns) == file and failure.tried_with == tried_with


def _is_waiting(failure: Failure, at: datetime) -> bool:
    """False also for a last try in the future, after which the clock was set back."""
    if failure.tried_at is None or failure.next_at is None:
        return False
    return failure.tried_at <= at < failure.next_at


@cache
def _decoders() -> list[str]:
    """Digest of our own decoding code, and the versions of the decoders installed."""
    code = hashlib.sha256()
    for path in sorted(Path(extract.decode.__path__[0]).glob("*.py")):
        code.update(path.read_bytes())
    return [code.hexdigest(), *(f"{name} {_version(name)}" for name in _DECODERS)]


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""
