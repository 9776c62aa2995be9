"""The library of a workspace: its videos with files, labels, features and scores, in a SQL database.

Every method is one transaction; `transaction` combines several. A killed process leaves no half-written
change.
"""

from collections.abc import Iterable, Iterator

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from extract.remote.path import AnyPath
from flows.library.finding import Finding
from flows.library.labelling import Labelling
from flows.library.new_files import add_page, failed_probe
from flows.library.pages import HAS_LABELS, UNUSABLE, USABLE, in_pages, video_page
from flows.library.records import HELD_OUT, FileRecord, NewFile, Problem, Video
from flows.library.results import Results
from flows.library.tables import FailedProbeRow, FeatureRow, LocationRow, VideoRow


class Library(Finding, Labelling, Results):
    """Reads and writes the library's tables. Videos are addressed by their digest (sha256)."""

    # --- videos and their files -----------------------------------------------------------------------------

    def videos(self, split: str | None = None) -> list[Video]:
        """All videos, or those of a split, sorted by name. Of a million they take a gigabyte."""
        conditions = [] if split is None else [VideoRow.split == split]
        return sorted(self._videos(*conditions), key=lambda video: video.name)

    def labelled(self) -> list[Video]:
        """The videos with labels and recorded features that may be trained on, sorted by name."""
        has_features = select(FeatureRow.video_id).where(FeatureRow.video_id == VideoRow.id).exists()
        found = self._videos(HAS_LABELS, VideoRow.split.not_in(HELD_OUT), has_features)
        return sorted(found, key=lambda video: video.name)

    def _videos(self, *conditions: ColumnElement[bool]) -> Iterator[Video]:
        """Videos in the order in which they were added. Each page is a transaction of its own."""
        last = 0
        while True:
            with self._session() as session:
                page, last = video_page(session, last, *conditions)
            if not page:
                return
            yield from page

    def recorded_files(self, paths: Iterable[AnyPath]) -> dict[AnyPath, FileRecord]:
        """The recorded ones of these files, as they were when they were recorded."""
        found: dict[AnyPath, FileRecord] = {}
        columns = (LocationRow.path, VideoRow.digest, LocationRow.size, LocationRow.mtime_ns)
        for page in in_pages(paths):
            by_text = {str(path): path for path in page}
            with self._session() as session:
                rows = session.execute(select(*columns).join(VideoRow).where(LocationRow.path.in_(by_text)))
                for text, digest, size, mtime_ns in rows:
                    path = by_text[text]
                    found[path] = FileRecord(path, digest, size, mtime_ns)
        return found

    def has_video(self, digest: str) -> bool:
        """True if a video with this content is recorded, under any name."""
        return bool(self.splits([digest]))

    def splits(self, digests: Iterable[str]) -> dict[str, str]:
        """Split by digest of those of these videos that are recorded."""
        found: dict[str, str] = {}
        for page in in_pages(digests):
            with self._session() as session:
                rows = select(VideoRow.digest, VideoRow.split).where(VideoRow.digest.in_(page))
                found.update((digest, split) for digest, split in session.execute(rows))
        return found

    def usable_names(self, names: Iterable[str]) -> set[str]:
        """Those of these names that are of videos without a problem."""
        found: set[str] = set()
        for page in in_pages(names):
            with self._session() as session:
                found.update(session.scalars(select(VideoRow.name).where(VideoRow.name.in_(page), USABLE)))
        return found

    def add_file(
        self, file: FileRecord, *, name: str, split: str, problem: str = "", rename_existing: bool = False
    ) -> str:
        """`add_files` for a single file."""
        return self.add_files([NewFile(file, name, split, problem)], rename_existing=rename_existing)[0]

    def add_files(self, files: Iterable[NewFile], *, rename_existing: bool = False) -> list[str]:
        """Record files; returns the names of their videos. A known content is not changed.

        On a name collision the new video's name gets its digest as a suffix; with `rename_existing` the
        existing one's does.
        """
        names: list[str] = []
        for page in in_pages(files):
            with self._writing() as session:
                names += add_page(session, page, rename_existing)
        return names

    def set_split(self, digest: str, split: str) -> None:
        """Move a video to another split. A test video stays in `test`, an audit video in `audit`."""
        with self._writing() as session:
            row = _row(session, digest)
            if row.split not in HELD_OUT:
                row.split = split

    # --- videos that could not be read ----------------------------------------------------------------------

    def record_probe(self, digest: str, problem: str) -> None:
        """Record the result of a probe: why the video cannot be read, or empty if it can be."""
        with self._writing() as session:
            row = _row(session, digest)
            if problem:
                attempts = row.failed_probe.attempts if row.failed_probe else 0
                row.problem = problem
                session.merge(FailedProbeRow(**failed_probe(row.id, attempts + 1)))
                return
            row.problem = ""
            if row.failed_probe is not None:
                session.delete(row.failed_probe)

    def problems(self) -> list[Problem]:
        """The videos that could not be read, sorted by name."""
        videos = sorted(self._videos(UNUSABLE), key=lambda video: video.name)
        columns = (FailedProbeRow.attempts, FailedProbeRow.tried_at, FailedProbeRow.next_at)
        with self._session() as session:
            rows = session.execute(
                select(VideoRow.digest, VideoRow.first_seen, *columns)
                .outerjoin(FailedProbeRow, FailedProbeRow.video_id == VideoRow.id)
                .where(UNUSABLE)
            )
            # Recorded before failed probes were counted: one try, and due at once.
            tries = {d: (n or 1, tried or seen, due or seen) for d, seen, n, tried, due in rows}
        return [Problem(video, *tries[video.digest]) for video in videos if video.digest in tries]


def _row(session: Session, digest: str) -> VideoRow:
    return session.scalars(select(VideoRow).where(VideoRow.digest == digest)).one()
