"""The catalogue of a million videos: what its questions cost, on SQLite and on PostgreSQL.

    python tests/benchmarks/library_million.py [--videos 1000000] [--database postgresql] [--folder DIR]

Fills a library with that many videos (a file, features, a label and a score of each, one in ten without
labels), with the files in an inbox: links to a few contents, which the library has recorded as different
ones. Then measures, each in a process of its own: the seconds, the processor time (without that of
PostgreSQL's server), and the memory beyond the library's code.
`--database` is `sqlite`, `postgresql` (a server is started for the run) or the URL of an empty database.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sqlalchemy as sa

from extract.source import file_digest
from flows.demo.footage import ClipPlan, write_clip
from flows.library.database import URL_VARIABLE
from flows.library.inbox import scan
from flows.library.labels import import_labels, label_queue, set_labels
from flows.library.library import Library
from flows.library.pages import in_pages
from flows.library.records import Features, Score
from flows.library.tables import FeatureRow, LabelRow, LocationRow, ScoreRow, VideoRow
from flows.retraining.drift import find_drifts
from flows.retraining.plan import plan_features, unscored
from flows.workspace.retrain_config import DriftConfig
from tests.postgres import find_binaries, running_postgres

MODEL, SETTINGS = "champion", "today"
UNLABELLED_EACH = 10
"""One in so many videos has no labels."""
NEW = 1000
LINKS = 20_000
"""Links to one file; file systems allow some ten thousand."""
FILES_OF_A_FOLDER = 1000
TIME = datetime(2026, 11, 1, tzinfo=timezone.utc)


def digest(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def links(folder: Path, count: int, name: Callable[[int], str], content: bytes) -> os.stat_result:
    """Files 1 to `count`, all with this content and the same time; returns their state."""
    for number in range(1, count + 1):
        path = folder / name(number)
        if number % LINKS == 1:
            path.parent.mkdir(parents=True, exist_ok=True)
            first = path
            first.write_bytes(content)
            os.utime(first, (1, 1))
        else:
            if number % FILES_OF_A_FOLDER == 1:
                path.parent.mkdir(parents=True, exist_ok=True)
            os.link(first, path)
    return first.stat()


def video_name(number: int) -> str:
    return f"c{(number - 1) // FILES_OF_A_FOLDER:04}/v{number}.mp4"


def rows(root: Path, count: int) -> Iterator[tuple[sa.Table, Iterable[dict[str, Any]]]]:
    """The rows of each table."""
    video = links(root / "inbox", count, video_name, b"a video")
    file = links(root / "features", count, lambda n: f"v{n}.h5", b"features")
    links(root / "scores", count, lambda n: f"v{n}.h5", b"scores")
    means = np.random.default_rng(0).normal(size=(50, 512)).astype("<f4")
    entropies = np.random.default_rng(1).random(count + 1)
    numbers = range(1, count + 1)
    labels = ("normal", "fire", "riot", "fire|riot")

    def label(n: int) -> str:
        return labels[n % 4] if n % UNLABELLED_EACH else ""

    def split(n: int) -> str:
        return "test" if n % 1000 == 1 else "train"

    yield (
        VideoRow.__table__,
        (
            {"id": n, "digest": digest(n), "name": f"v{n}", "split": split(n), "problem": ""}
            | {"first_seen": TIME, "current_labels": label(n)}
            for n in numbers
        ),
    )
    yield (
        LocationRow.__table__,
        (
            {"id": n, "video_id": n, "path": str(root / "inbox" / video_name(n)), "file_name": f"v{n}.mp4"}
            | {"size": video.st_size, "mtime_ns": video.st_mtime_ns, "seen": TIME}
            for n in numbers
        ),
    )
    yield (
        LabelRow.__table__,
        (
            {
                "id": n,
                "video_id": n,
                "labels": label(n),
                "given_by": "ada",
                "source": "a.csv",
                "given_at": TIME,
            }
            for n in numbers
            if label(n)
        ),
    )
    yield (
        FeatureRow.__table__,
        (
            {"video_id": n, "digest": digest(-n), "encoder": "e" * 16, "snippets": 16, "duration_s": 8.5}
            | {"mean": means[n % 50].tobytes(), "made_with": SETTINGS}
            | {"file_size": file.st_size, "file_mtime_ns": file.st_mtime_ns}
            for n in numbers
        ),
    )
    yield (
        ScoreRow.__table__,
        (
            {"video_id": n, "model": MODEL, "anomaly": float(entropies[n - 1]), "predicted": "normal"}
            | {
                "surprise": float(entropies[n]),
                "scored_at": TIME,
                "made_from": digest(-n),
                "made_with": SETTINGS,
            }
            for n in numbers
        ),
    )


def fill(root: Path, count: int) -> None:
    with Library.open(root) as library, library._engine.begin() as connection:
        for table, values in rows(root, count):
            if library._engine.dialect.name == "postgresql":
                copy(connection, table, values)
            else:
                for page in in_pages(values, 10_000):
                    connection.execute(table.insert(), page)
        if library._engine.dialect.name == "postgresql":
            for table in ("videos", "locations", "labels"):
                connection.exec_driver_sql(
                    f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {count + 1})"
                )
    with Library.open(root) as library, library._engine.connect() as connection:
        analyse = "ANALYZE" if library._engine.dialect.name == "postgresql" else "PRAGMA optimize"
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(analyse)


def copy(connection: sa.Connection, table: sa.Table, values: Iterable[dict[str, Any]]) -> None:
    """PostgreSQL's bulk load."""
    first = next(iter(islice(values, 1)))
    with connection.connection.cursor() as cursor:
        columns = ", ".join(first)
        with cursor.copy(f"COPY {table.name} ({columns}) FROM STDIN") as target:  # type: ignore[attr-defined]
            target.write_row(tuple(first.values()))
            for row in values:
                target.write_row(tuple(row.values()))


def add_new_files(root: Path) -> None:
    """1,000 videos that can be decoded, each with a content of its own."""
    clip = root / "clip.mp4"
    write_clip(clip, ClipPlan("clip", "train", "normal", 16, None, 0))
    image = clip.read_bytes()
    (root / "inbox" / "new").mkdir(exist_ok=True)
    for number in range(NEW):
        free = b"%d" % (int(time.time()) * NEW + number)
        box = (8 + len(free)).to_bytes(4, "big") + b"free" + free
        (root / "inbox" / "new" / f"n{number}.mp4").write_bytes(image + box)


def known_digests(library: Library, first: int) -> list[str]:
    return [digest(number) for number in range(first, first + NEW)]


def late_page(library: Library) -> str:
    """Name of the video at 90 % of the queue."""
    with library._session() as session:
        statement = (
            "SELECT name FROM videos JOIN scores ON video_id = id WHERE model = :model AND "
            "current_labels = '' AND problem = '' AND surprise < 0.1 ORDER BY surprise DESC LIMIT 1"
        )
        return str(session.scalar(sa.text(statement), {"model": MODEL}))


def write_features(library: Library, root: Path) -> None:
    mean = np.zeros(512, np.float32)
    one = Features("f" * 64, "e" * 16, 16, 8.5, mean, SETTINGS, 1, 1)
    library.write_features(dict.fromkeys(known_digests(library, 1), one))


def write_labels(root: Path) -> Path:
    path = root / "labels.csv"
    path.write_text("video,labels\n" + "".join(f"v{n},riot\n" for n in range(1, NEW + 1) if n % 1000 != 1))
    return path


def drift(library: Library, root: Path) -> None:
    videos = list(library.scored_videos(MODEL))
    training, new = ([v for v in videos if v.labelled is labelled] for labelled in (True, False))
    assert len(find_drifts(library, training, new, DriftConfig())) == 2


def plan(library: Library, root: Path) -> None:
    found = plan_features(library, root / "features", SETTINGS)
    print(f"{len(found.extract)} of {found.total} need features", file=sys.stderr)


Action = Callable[[Library, Path], object]
ACTIONS: dict[str, Action] = {
    "scan, 1,000 files new": lambda library, root: scan(library, [root / "inbox"], 0, file_digest),
    "scan, nothing new": lambda library, root: scan(library, [root / "inbox"], 0, file_digest),
    "plan: which need features": plan,
    "plan: which need scores": lambda library, root: list(
        unscored(library, MODEL, root / "scores", SETTINGS)
    ),
    "queue, first page": lambda library, root: label_queue(library, MODEL, 30),
    "queue, page at 90 %": lambda library, root: label_queue(library, MODEL, 30, late_page_name),
    "queue, its length": lambda library, root: library.count_unlabelled(),
    "label one video": lambda library, root: set_labels(
        library, "v77.mp4", "riot" if os.getpid() % 2 else "fire", allowed=library.labels_in_use()
    ),
    "import 1,000 labels": lambda library, root: import_labels(
        library, root / "labels.csv", allowed=library.labels_in_use()
    ),
    "write 1,000 features": write_features,
    "write 1,000 scores": lambda library, root: library.write_scores(
        MODEL, dict.fromkeys(known_digests(library, 1), Score(0.5, "normal", 0.5)), SETTINGS
    ),
    "list what cannot be read": lambda library, root: library.problems(),
    "drift": drift,
}
late_page_name = ""
"""Set before the action."""


def measure(action: str, root: Path) -> dict[str, float]:
    """Seconds, seconds of processor time and MB of an action in this process."""
    global late_page_name
    with Library.open(root) as library:
        late_page_name = late_page(library)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins with the present size
        before, began, used = peak_mb(), time.monotonic(), time.process_time()
        ACTIONS[action](library, root)
        spent = {"s": time.monotonic() - began, "cpu": time.process_time() - used}
        return spent | {"mb": peak_mb() - before}


def peak_mb() -> float:
    """Peak size of this process; unlike that of `getrusage`, not of the process that started it."""
    (line,) = (t for t in Path("/proc/self/status").read_text().splitlines() if t.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def table_row(action: str, one: dict[str, float]) -> str:
    return f"| {action} | {one['s']:.2f} s | {one['cpu']:.2f} s | {one['mb']:.0f} MB |"


def in_process(action: str, root: Path) -> dict[str, float]:
    command = [sys.executable, __file__, "--folder", str(root), "--action", action]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


@contextmanager
def database(given: str) -> Iterator[None]:
    """Let the library be there."""
    if given == "sqlite":
        os.environ.pop(URL_VARIABLE, None)
        yield
    elif given == "postgresql":
        binaries = find_binaries()
        if binaries is None:
            sys.exit("PostgreSQL is not installed (Debian: postgresql)")
        with running_postgres(binaries) as server:
            os.environ[URL_VARIABLE] = server.new_database()
            yield
    else:
        os.environ[URL_VARIABLE] = given
        yield


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=20_000)
    parser.add_argument("--database", default="sqlite", help="sqlite, postgresql or a URL")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--action", choices=ACTIONS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.action:
        print(json.dumps(measure(given.action, given.folder)))
        return
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, database(given.database):
        root, began = Path(folder) / "ws", time.monotonic()
        fill(root, given.videos)
        add_new_files(root)
        write_labels(root)
        name = given.database.partition(":")[0]
        print(f"filled in {time.monotonic() - began:.0f} s\n", file=sys.stderr)
        print(
            f"| {given.videos:,} videos, {name} | time | processor | memory |\n|---|---|---|---|", flush=True
        )
        for action in ACTIONS:
            one = in_process(action, root)
            print(table_row(action, one), flush=True)


if __name__ == "__main__":
    main()
