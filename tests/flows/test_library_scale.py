"""A library of many videos: pages and look-ups by indexes, several writers, libraries of earlier versions."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config

from flows.demo.footage import ClipPlan, write_clip
from flows.library import database, labelling, prober
from flows.library.database import URL_VARIABLE, database_url
from flows.library.inbox import scan
from flows.library.labels import label_queue, set_labels
from flows.library.library import Library
from flows.library.records import Features, FileRecord, NewFile, Score
from flows.library.tables import Base
from flows.retraining.plan import plan_features, unscored
from tests.postgres import PostgresServer


def digest(number: int) -> str:
    return f"{number * 7919:064x}"


def new_file(number: int, folder: str = "cam") -> NewFile:
    return NewFile(FileRecord(Path(f"/{folder}/v{number}.mp4"), digest(number), 5, 7), f"v{number}", "train")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The setting of a new database, empty for SQLite."""
    found = ""
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        found = server.new_database()
        monkeypatch.setenv(URL_VARIABLE, found)
    return found


def test_the_pages_of_the_queue_are_the_queue(url: str, tmp_path: Path) -> None:
    with Library.open(tmp_path) as library:
        library.add_files(new_file(number) for number in range(40))
        entropies = {number: (number % 5) / 3 for number in range(12, 40)}  # several videos have the same
        library.write_scores("m", {digest(n): Score(0.5, "fire", e) for n, e in entropies.items()})
        library.write_scores("other", {digest(n): Score(0.5, "fire", 9.0) for n in range(5)})
        set_labels(library, "v3", "fire", allowed=None)
        set_labels(library, "v20", "fire", allowed=None)
        whole = [item.video.name for item in label_queue(library, "m")]
        assert whole[:11] == sorted(f"v{n}" for n in range(12) if n != 3)
        scored = [entropies[int(name[1:])] for name in whole[11:]]
        assert scored == sorted(scored, reverse=True)
        assert len(set(whole)) == 38
        for size in (1, 4, 11, 37, 38, 50):
            pages, last = [], None
            while page := label_queue(library, "m", size, last):
                pages += [item.video.name for item in page]
                last = page[-1].video.name
            assert pages == whole
        # The last video of a page is labelled before the next page is asked for.
        set_labels(library, whole[14], "riot", allowed=None)
        rest = [item.video.name for item in label_queue(library, "m", 50, whole[14])]
        assert rest == whole[15:]
        with pytest.raises(ValueError, match="no video 'nowhere'"):
            label_queue(library, "m", 1, "nowhere")


def test_questions_to_sqlite_use_the_indexes(tmp_path: Path) -> None:
    queries: dict[str, Any] = {
        "ix_videos_unlabelled": labelling._unscored("m", "v5", 30),
        "ix_scores_model_entropy": labelling._scored("m", None, 30),
        "ix_videos_labelled": labelling._texts_in_use(),
    }
    with Library.open(tmp_path) as library, library._engine.connect() as connection:
        for index, query in queries.items():
            sql = query.compile(library._engine, compile_kwargs={"literal_binds": True})
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}").all()
            plan = "\n".join(row[3] for row in rows)
            assert index in plan
            assert "TEMP B-TREE" not in plan


def test_videos_are_found_by_the_database_as_among_all(url: str, tmp_path: Path) -> None:
    with Library.open(tmp_path) as library:
        library.add_files(new_file(number) for number in range(30))
        library.add_files(
            NewFile(FileRecord(Path(f"/shared{n}/same.mp4"), digest(n), 1, 1), "x", "train")
            for n in range(25)
        )
        for reference in ("v7", "v7.mp4", "/cam/v7.mp4", digest(7), digest(7)[:62], digest(7).upper()):
            assert library.find(reference).name == "v7"
        references = [f"v{n}.mp4" for n in range(30)]
        index = library.index_of(references)
        assert [index.find(one).name for one in references] == [f"v{n}" for n in range(30)]
        with pytest.raises(ValueError, match=r"'same.mp4' matches v0, v1, .* more; give a full name"):
            library.find("same.mp4")
        for reference in ("v", "v7.MP4", "0" * 7, "f" * 8, "", "100% _", "a" * 300):
            with pytest.raises(ValueError, match="no video"):
                library.find(reference)
        assert [video.name for video in library.with_names(["v9", "none", "v2"])] == ["v9", "v2"]


def test_several_writers_record_the_same_files_once(url: str, tmp_path: Path) -> None:
    def record(number: int) -> list[str]:
        with Library.open(tmp_path) as library:
            return [library.add_files([new_file(n)])[0] for n in range(25)]

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(record, range(4))) == [[f"v{n}" for n in range(25)]] * 4
    with Library.open(tmp_path) as library:
        assert len(library.videos()) == 25


def test_files_in_one_group_that_share_name_or_content(url: str, tmp_path: Path) -> None:
    one, other = (FileRecord(Path(f"/{n}/clip.mp4"), digest(n), 1, 1) for n in (1, 2))
    copy = FileRecord(Path("/3/copy.mp4"), digest(1), 1, 1)
    long = "v" * 250
    third, fourth = (FileRecord(Path(f"/{n}/{long}.mp4"), digest(n), 1, 1) for n in (4, 5))
    with Library.open(tmp_path) as library:
        names = library.add_files(
            NewFile(file, file.path.stem, "train") for file in (one, other, copy, third, fourth)
        )
        assert names == ["clip", f"clip-{digest(2)[:8]}", "clip", long, names[4]]
        assert len(f"{names[4]}.h5".encode()) <= 255
        assert library.find("copy.mp4").name == "clip"
        assert library.add_files([NewFile(copy, "again", "train")]) == ["clip"]


@pytest.mark.parametrize("revision", ["0001", "0002", "0003"])
def test_a_library_of_every_earlier_version_is_migrated(revision: str, url: str, tmp_path: Path) -> None:
    engine = sa.create_engine(database_url(tmp_path))
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(Path(database.__file__).parent / "migrations"))
        command.upgrade(config, revision)
        for number, name in enumerate(("a", "b", "c"), 1):
            connection.exec_driver_sql(
                f"INSERT INTO videos (id, digest, name, split, problem, first_seen) "
                f"VALUES ({number}, '{digest(number)}', '{name}', 'train', '', '2026-01-01 00:00:00')"
            )
            connection.exec_driver_sql(
                f"INSERT INTO locations (id, video_id, path, size, mtime_ns, seen) "
                f"VALUES ({number}, {number}, '/x/x/{name}.mp4', 1, 1, '2026-01-01 00:00:00')"
            )
            connection.exec_driver_sql(
                "INSERT INTO features (video_id, digest, encoder, snippets, duration_s) "
                f"VALUES ({number}, 'f', 'e', 1, 1.0)"
            )
        for number, (video, labels) in enumerate([(1, "fire"), (2, "fire"), (1, "riot"), (2, "")], 1):
            connection.exec_driver_sql(
                f"INSERT INTO labels (id, video_id, labels, given_by, source, given_at) "
                f"VALUES ({number}, {video}, '{labels}', 'ada', 's', '2026-01-01 00:00:00')"
            )
    engine.dispose()
    with Library.open(tmp_path) as library:
        assert {v.name: v.labels for v in library.videos()} == {"a": ("riot",), "b": None, "c": None}
        assert library.find("b.mp4").name == "b"
        assert library.labels_in_use() == {"riot"}
        assert library.count_unlabelled() == 2
        plan = plan_features(library, tmp_path, "settings")
        assert (plan.extract, plan.total) == ([digest(n) for n in (1, 2, 3)], 3)
        columns = sa.inspect(library._engine).get_columns("scores")
        assert [c["name"] for c in columns] == Base.metadata.tables["scores"].columns.keys()


def test_the_plan_names_what_is_new_lost_or_changed(tmp_path: Path) -> None:
    features, scores = tmp_path / "features", tmp_path / "scores"
    features.mkdir()
    scores.mkdir()
    content = b"dsanet-features sha256 " + b"c" * 64 + b"\n"
    mean = np.zeros(512, np.float32)
    with Library.open(tmp_path) as library:
        library.add_files(new_file(number) for number in range(8))
        for number in range(7):  # of 7 there are no features
            path = features / f"v{number}.h5"
            path.write_bytes(content.ljust(600, b"\0"))
            status = path.stat()
            row = Features("c" * 64, "e", 1, 1.0, mean, "s", status.st_size, status.st_mtime_ns)
            library.write_features({digest(number): row})
            (scores / path.name).touch()
        made = {digest(number): Score(0.5, "fire", 1.0, "c" * 64) for number in range(6)}
        library.write_scores("m", made, "i")
        assert plan_features(library, features, "s").extract == [digest(7)]
        assert list(unscored(library, "m", scores, "i")) == [digest(6)]
        (features / "v0.h5").unlink()
        shutil.copy(features / "v1.h5", features / "v2.h5")  # the same content with another time
        (features / "v3.h5").write_bytes(b"damaged")
        (features / "v4.h5").write_bytes((content.replace(b"c" * 9, b"d" * 9)).ljust(600, b"\0"))
        plan = plan_features(library, features, "s")
        assert (plan.extract, plan.record) == ([digest(n) for n in (0, 3, 4, 7)], [digest(2)])
        assert len(plan_features(library, features, "other settings").extract) == 8
        (scores / "v5.h5").unlink()
        library.forget_features([digest(0)])
        assert list(unscored(library, "m", scores, "i")) == [digest(5), digest(6)]
        assert len(list(unscored(library, "m", scores, "other settings"))) == 6


def test_one_process_probes_many_files_and_is_replaced_after_a_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "inbox").mkdir()
    write_clip(tmp_path / "inbox" / "b-good.mp4", ClipPlan("good", "train", "normal", 8, None, 0))
    for name in ("a-bad", "c-bad", "d-bad"):
        (tmp_path / "inbox" / f"{name}.mp4").write_bytes(name.encode() * 99)
    started = tmp_path / "started"
    program = tmp_path / "python"
    program.write_text(f'#!/bin/sh\necho x >> {started}\nexec "{sys.executable}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setattr(prober.sys, "executable", str(program))
    with Library.open(tmp_path / "ws") as library:
        result = scan(library, [tmp_path / "inbox"], 0)
    assert (result.new, len(result.unreadable), started.read_text()) == (["b-good"], 3, "x\n")
    with prober.Prober() as one:
        assert one.unusable_reason(tmp_path / "inbox" / "b-good.mp4") == ""
        assert one._process is not None
        one._process.kill()
        one._process.wait()
        reason = one.unusable_reason(tmp_path / "inbox" / "b-good.mp4")
        assert reason == "the decoder crashes on the file (killed by SIGKILL, probably for lack of memory)"
        assert one.unusable_reason(tmp_path / "inbox" / "b-good.mp4") == ""
