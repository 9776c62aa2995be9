"""Copying a library to another database: all rows or none, and work goes on there."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psycopg
import pytest
import sqlalchemy as sa

from flows.library.copying import copy_library
from flows.library.database import URL_VARIABLE, database_url, file_and_database
from flows.library.labels import label_queue, set_labels
from flows.library.library import Library
from flows.library.records import Features, FileRecord, NewFile, Score
from flows.library.tables import Base
from flows.workspace.inputs import configure_workspace
from tests.flows.commands import DSANET, Dsanet
from tests.flows.tiny import tiny_footage
from tests.postgres import PostgresServer

VIDEOS = 30


def workspace(folder: Path) -> Path:
    """A workspace in which nothing has run."""
    configure_workspace(folder / "ws", tiny_footage(folder / "footage"), preset="small", weights="random")
    return folder / "ws"


def fill(library: Library) -> None:
    digests = [f"{number:064x}" for number in range(VIDEOS)]
    library.add_files(
        NewFile(FileRecord(Path(f"/cam/v{n}.mp4"), d, 5, 7), f"v{n}", "train", "crashed" if n == 3 else "")
        for n, d in enumerate(digests)
    )
    library.add_labels({digests[0]: ("fire", "riot"), digests[1]: ("normal",)}, by="ada", source="x.csv")
    library.add_labels({digests[1]: ()}, by="bob", source="command line")
    means = np.random.default_rng(0).normal(size=(VIDEOS, 512)).astype(np.float32)
    library.write_features({d: Features("f" * 64, "e" * 16, 3, 1.5, means[n]) for n, d in enumerate(digests)})
    library.write_scores("m", {d: Score(0.5, "fire", n / 7, "f" * 64) for n, d in enumerate(digests)})


def content(library: Library) -> dict[str, list[tuple[object, ...]]]:
    with library._engine.connect() as connection:
        return {
            name: sorted(tuple(row) for row in connection.execute(sa.select(table)))
            for name, table in Base.metadata.tables.items()
        }


def test_a_library_moves_to_postgresql_and_back_with_all_its_rows(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "ws") as library:
        fill(library)
        before = content(library)
    monkeypatch.setenv(URL_VARIABLE, postgres.new_database())
    file, database = file_and_database(tmp_path / "ws")
    monkeypatch.setattr("flows.library.copying.ROWS_AT_ONCE", 7)
    copied = copy_library(file, database)
    assert copied == {name: len(rows) for name, rows in before.items()}
    with Library.open(tmp_path / "ws") as library:
        assert content(library) == before
        set_labels(library, "v5.mp4", "riot", allowed=None)  # the numbers of new rows follow those copied
        new = NewFile(FileRecord(Path("/cam/new.mp4"), "f" * 64, 1, 1), "new", "train")
        assert library.add_files([new]) == ["new"]
        assert [item.video.name for item in label_queue(library, "m", 2)] == ["new", "v29"]
        after = content(library)
    with pytest.raises(ValueError, match=r"holds a library already \(31 rows in videos\)"):
        copy_library(file, database)
    with pytest.raises(ValueError, match="holds a library already"):
        copy_library(database, file)
    (tmp_path / "ws" / "library.db").unlink()
    copy_library(database, file)
    monkeypatch.delenv(URL_VARIABLE)
    with Library.open(tmp_path / "ws") as library:
        assert content(library) == after
    with pytest.raises(ValueError, match=r"is at .* already"):
        copy_library(file, file)
    with pytest.raises(FileNotFoundError, match=r"no library .* to copy"):
        copy_library(database_url(tmp_path / "nowhere"), database)


def test_a_copy_that_fails_leaves_nothing_and_can_be_repeated(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Library.open(tmp_path / "ws") as library:
        fill(library)
    url = postgres.new_database()
    monkeypatch.setenv(URL_VARIABLE, url)
    file, database = file_and_database(tmp_path / "ws")

    def server_goes_away(table: str, done: int, total: int) -> None:
        if table == "scores":
            with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
                admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [sa.make_url(url).database],
                )

    with pytest.raises(ValueError, match=r"does not answer any more: .*; start the command again") as told:
        copy_library(file, database, server_goes_away)
    assert str(sa.make_url(url).password) not in str(told.value)
    with Library.open(tmp_path / "ws") as library:
        assert not any(content(library).values())
    assert copy_library(file, database)["videos"] == VIDEOS


def test_the_command_copies_names_the_way_on_and_refuses_without_a_database(
    postgres: PostgresServer, tmp_path: Path, dsanet: Dsanet, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = workspace(tmp_path)
    with Library.open(root) as library:
        fill(library)
    code, _, error = dsanet("library", "copy", "--out", root)
    assert (code, "no other database is named; set DSANET_LIBRARY_URL" in error) == (2, True)
    url = postgres.new_database()
    monkeypatch.setenv(URL_VARIABLE, url)
    code, out, error = dsanet("library", "copy", "--out", root)
    assert code == 0, error
    assert f"{VIDEOS} videos" in out
    assert str(sa.make_url(url).password) not in out + error
    code, out, _ = dsanet("label", "queue", "--out", root, "--most", 2)
    assert (code, out.splitlines()[-2:]) == (
        0,
        ["--after v10 prints the next ones", "28 videos without labels"],
    )
    code, out, _ = dsanet("label", "queue", "--out", root, "--most", 30, "--after", "v10")
    assert [line.split()[0] for line in out.splitlines() if line.startswith(" v")][1:3] == ["v11", "v12"]
    assert dsanet("library", "copy", "--out", root)[0] == 2  # not into a library
    assert dsanet("library", "copy", "--to-file", "--out", root)[0] == 2


def test_the_server_that_goes_away_in_the_middle_ends_a_command_with_one_line(
    postgres: PostgresServer, tmp_path: Path
) -> None:
    """An idle connection is made anew; a broken one ends the command, and the same command works again."""
    root, url = workspace(tmp_path), postgres.new_database()
    script = (
        "import sys; from pathlib import Path\n"
        "from flows.library.library import Library\n"
        "with Library.open(Path(sys.argv[1])) as library:\n"
        "    library.count_unlabelled(); print('idle', flush=True); sys.stdin.readline()\n"
        "    library.count_unlabelled(); print('again', flush=True)\n"
        "    with library.transaction():\n"
        "        print('inside', flush=True); sys.stdin.readline()\n"
        "        library.count_unlabelled()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(root)],
        env={**os.environ, URL_VARIABLE: url},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for heard in ("idle", "again"):
            assert process.stdout.readline() == f"{heard}\n"
            if heard == "again":
                assert process.stdout.readline() == "inside\n"
            disconnect(postgres, url)
            process.stdin.write("\n")
            process.stdin.flush()
        _, error = process.communicate(timeout=60)
    assert "LibraryError: the library at postgresql+psycopg://postgres:***@127.0.0.1" in error
    assert "does not answer any more" in error
    assert str(sa.make_url(url).password) not in error
    done = subprocess.run(
        [*DSANET, "label", "queue", "--out", str(root)], env={**os.environ, URL_VARIABLE: url}, check=True
    )
    assert done.returncode == 0


def disconnect(postgres: PostgresServer, url: str) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as admin:
        name = sa.make_url(url).database
        while not admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        ).fetchall():
            time.sleep(0.05)
        while admin.execute("SELECT 1 FROM pg_stat_activity WHERE datname = %s", [name]).fetchall():
            time.sleep(0.05)
