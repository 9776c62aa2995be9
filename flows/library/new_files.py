"""Recording many files at once: a few statements, however many files there are."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from extract.retry_times import next_try
from flows.library.pages import row_ids
from flows.library.records import MIN_DIGEST_LENGTH, NewFile
from flows.library.tables import FailedProbeRow, LocationRow, VideoRow, now

MOST_NAME_BYTES = 255 - len(".h5") - len("-") - MIN_DIGEST_LENGTH
"""Of a name that gets a suffix: its feature file needs a name that file systems take."""


def add_page(session: Session, files: Sequence[NewFile], rename_existing: bool) -> list[str]:
    """Record at most a page of files; returns the names of their videos."""
    names = dict(
        session.execute(select(VideoRow.digest, VideoRow.name).where(VideoRow.digest.in_(_digests(files))))
        .tuples()
        .all()
    )
    new: dict[str, NewFile] = {}
    for one in files:
        if one.file.digest not in names:
            new.setdefault(one.file.digest, one)
    names |= _add_videos(session, list(new.values()), rename_existing)
    ids = row_ids(session, list(names))
    _add_locations(session, files, ids)
    return [names[one.file.digest] for one in files]


def failed_probe(video_id: int, attempts: int) -> dict[str, Any]:
    """A row of the table of failed probes, for one that has just failed."""
    at: datetime = now()
    return {
        "video_id": video_id,
        "attempts": attempts,
        "tried_at": at,
        "next_at": next_try(at, attempts),
    }


def _add_videos(session: Session, files: Sequence[NewFile], rename_existing: bool) -> dict[str, str]:
    """Insert a video for each of these contents, which are new; returns the names by digest."""
    if not files:
        return {}
    taken = _taken_names(session, [one.name for one in files])
    if rename_existing and taken:
        _rename(session, taken)
        taken = {}
    names: dict[str, str] = {}
    used = set(taken)
    for one in files:
        free = one.name not in used
        name = one.name if free else name_with_digest(one.name, one.file.digest)
        used.add(name)
        names[one.file.digest] = name
    rows = [
        {
            "digest": one.file.digest,
            "name": names[one.file.digest],
            "split": one.split,
            "problem": one.problem,
        }
        for one in files
    ]
    session.execute(insert(VideoRow), rows)
    if unusable := [one.file.digest for one in files if one.problem]:
        ids = row_ids(session, unusable)
        session.execute(insert(FailedProbeRow), [failed_probe(ids[digest], 1) for digest in unusable])
    return names


def _taken_names(session: Session, names: Sequence[str]) -> dict[str, str]:
    """Digest by name of the videos that have these names."""
    rows = select(VideoRow.name, VideoRow.digest).where(VideoRow.name.in_(names))
    return dict(session.execute(rows).tuples().all())


def _rename(session: Session, digests: dict[str, str]) -> None:
    for name, digest in digests.items():
        renamed = update(VideoRow).where(VideoRow.digest == digest)
        session.execute(renamed.values(name=name_with_digest(name, digest)))


def _add_locations(session: Session, files: Iterable[NewFile], ids: dict[str, int]) -> None:
    """Record the files under their paths, in place of what is recorded there."""
    latest = {str(one.file.path): one.file for one in files}
    session.execute(delete(LocationRow).where(LocationRow.path.in_(list(latest))))
    rows = [
        {
            "video_id": ids[file.digest],
            "path": path,
            "file_name": file.path.name,
            "size": file.size,
            "mtime_ns": file.mtime_ns,
        }
        for path, file in latest.items()
    ]
    if rows:
        session.execute(insert(LocationRow), rows)


def name_with_digest(name: str, digest: str) -> str:
    """The name of a video whose own name another one has."""
    kept = name.encode()[:MOST_NAME_BYTES].decode(errors="ignore")
    return f"{kept}-{digest[:MIN_DIGEST_LENGTH]}"


def _digests(files: Iterable[NewFile]) -> list[str]:
    return [one.file.digest for one in files]
