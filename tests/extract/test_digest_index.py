"""The index of digests is a cache: whatever becomes of its file, it says nothing wrong."""

import hashlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from extract import digest_index
from extract.digest_index import INDEX_FILE, DigestIndex
from extract.source import FileState, digest_in_background, file_digest, file_state

STATE = FileState(size=10, mtime_ns=1_700_000_000_123_456_789, inode=-3, ctime_ns=7)


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def filled(folder: Path, rows: int = 3) -> DigestIndex:
    """An index whose rows are written; each row's state has its number as size."""
    index = DigestIndex(folder)
    for number in range(rows):
        index.remember(folder / str(number), STATE._replace(size=number), digest(number), f"note {number}")
    index.close()
    return index


def known(index: DigestIndex, folder: Path, rows: int = 3) -> list[int]:
    """The rows that the index knows, each with its right digest and note."""
    found = []
    for number in range(rows):
        path = folder / str(number)
        if (sha256 := index.digest(path, STATE._replace(size=number))) is not None:
            assert sha256 == digest(number)
            assert index.note(path, sha256) in (f"note {number}", "")
            found.append(number)
    return found


@pytest.mark.parametrize("field", FileState._fields)
def test_a_digest_holds_for_one_state_of_the_file(field: str, tmp_path: Path) -> None:
    index = DigestIndex(tmp_path)
    other = STATE._replace(**{field: 11})
    for _ in range(2):  # before and after it is written
        index.remember(tmp_path / "a", STATE, digest(1), "note")
        assert index.digest(tmp_path / "a", STATE) == digest(1)
        assert index.digest(tmp_path / "a", other) is None
        assert index.has(tmp_path / "a")
        assert index.note(tmp_path / "a", digest(1)) == "note"
        assert index.note(tmp_path / "a", digest(2)) == ""
        index.close()


def test_a_row_is_read_once_and_again_after_it_was_forgotten_or_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path).close()
    index = DigestIndex(tmp_path)
    assert known(index, tmp_path) == [0, 1, 2]
    (tmp_path / INDEX_FILE).unlink()
    index._disconnect()
    assert known(index, tmp_path) == [0, 1, 2]
    index.forget(tmp_path / "0")
    index.remember(tmp_path / "1", STATE, digest(7))
    assert index.digest(tmp_path / "0", STATE) is None
    assert index.digest(tmp_path / "1", STATE) == digest(7)
    assert index.digest(tmp_path / "2", STATE._replace(ctime_ns=5)) is None
    index.close()
    assert known(index, tmp_path) == []
    monkeypatch.setattr(digest_index, "_MOST_KEPT", 0)
    assert index.digest(tmp_path / "1", STATE) == digest(7)


def test_a_new_content_replaces_the_old_one_and_forgetting_removes_it(tmp_path: Path) -> None:
    index = filled(tmp_path)
    index.remember(tmp_path / "1", STATE, digest(7))
    index.forget(tmp_path / "2")
    index.close()
    again = DigestIndex(tmp_path)
    assert known(again, tmp_path) == [0]
    assert again.digest(tmp_path / "1", STATE) == digest(7)
    assert again.note(tmp_path / "1", digest(7)) == ""
    assert not again.has(tmp_path / "2")


def test_paths_below_the_folder_move_with_it_and_others_do_not(tmp_path: Path) -> None:
    folder, video = tmp_path / "a", tmp_path / "video.mp4"
    folder.mkdir()
    index = filled(folder)
    index.remember(video, STATE, digest(9))
    index.close()
    folder.rename(tmp_path / "b")
    moved = DigestIndex(tmp_path / "b")
    assert known(moved, tmp_path / "b") == [0, 1, 2]
    assert moved.digest(video, STATE) == digest(9)


def test_names_of_any_bytes_and_inodes_of_64_bits(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.mp4")
    path = tmp_path / name
    path.write_bytes(b"content")
    times = {"st_mtime_ns": 5, "st_ctime_ns": 6}
    state = file_state(os.stat_result((0, (1 << 64) - 1, 0, 1, 0, 0, 7, 0, 0, 0), times))
    index = DigestIndex(tmp_path)
    index.remember(path, state, digest(1))
    index.close()
    assert index.digest(path, state) == digest(1)


def truncated(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


def of_a_later_version(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def of_another_program(file: Path) -> None:
    file.unlink()
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE files (path TEXT)")
    connection.close()


def without_a_table(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("DROP TABLE files")
    connection.close()


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        truncated,
        of_a_later_version,
        of_another_program,
        without_a_table,
        lambda file: file.write_bytes(b""),
        lambda file: file.write_bytes(os.urandom(20_000)),
    ],
)
def test_an_index_that_cannot_be_used_is_begun_again(
    damage: Callable[[Path], object], tmp_path: Path
) -> None:
    filled(tmp_path)
    damage(tmp_path / INDEX_FILE)
    assert known(DigestIndex(tmp_path), tmp_path) == []
    filled(tmp_path)
    assert known(DigestIndex(tmp_path), tmp_path) == [0, 1, 2]


def test_no_flipped_byte_gives_a_wrong_digest(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    filled(tmp_path / "whole", 20)
    image = (tmp_path / "whole" / INDEX_FILE).read_bytes()
    generator, lost = random.Random(0), 0
    used = [position for position, byte in enumerate(image) if byte]
    for position in generator.sample(used, 300):
        file = tmp_path / INDEX_FILE
        file.write_bytes(image[:position] + bytes([image[position] ^ 0x55]) + image[position + 1 :])
        index = DigestIndex(tmp_path)
        lost += len(known(index, tmp_path, 20)) < 20
        index.close()
    assert lost > 200, "most damages are noticed"


def test_where_nothing_can_be_written_it_is_kept_in_memory(tmp_path: Path) -> None:
    (tmp_path / INDEX_FILE).mkdir()
    assert known(filled(tmp_path), tmp_path) == [0, 1, 2]
    nowhere = DigestIndex(tmp_path / "missing")
    nowhere.remember(tmp_path / "a", STATE, digest(1))
    nowhere.close()
    assert nowhere.digest(tmp_path / "a", STATE) == digest(1)
    assert not (tmp_path / "missing").exists()


def test_a_file_that_may_only_be_read_still_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path)
    monkeypatch.setattr("extract.digest_index._BUSY_TIMEOUT_S", 0.1)
    index = DigestIndex(tmp_path)
    holder = sqlite3.connect(tmp_path / INDEX_FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")  # keeps others from writing, as a read-only disk does
    index.remember(tmp_path / "new", STATE, digest(5))
    index.flush()
    assert index.digest(tmp_path / "new", STATE) == digest(5)
    assert known(index, tmp_path) == [0, 1, 2]
    holder.execute("ROLLBACK")
    holder.close()
    index.close()
    assert DigestIndex(tmp_path).digest(tmp_path / "new", STATE) == digest(5)


def test_threads_and_several_indexes_of_one_folder(tmp_path: Path) -> None:
    def write(first: int) -> None:
        index = DigestIndex(tmp_path)
        for number in range(first, first + 50):
            index.remember(tmp_path / str(number), STATE._replace(size=number), digest(number))
            if number % 10 == 0:
                index.flush()
        index.close()

    threads = [threading.Thread(target=write, args=(first,)) for first in range(0, 200, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert known(DigestIndex(tmp_path), tmp_path, 200) == list(range(200))


WRITER = """
import sys
from pathlib import Path
from tests.extract.test_digest_index import DigestIndex, STATE, digest
folder = Path(sys.argv[1])
index = DigestIndex(folder)
for number in range(100_000):
    row = number % 500
    index.remember(folder / str(row), STATE._replace(size=row), digest(row), "note")
    if number % 20 == 0:
        index.flush()
        print(number, flush=True)
"""


def test_a_kill_while_it_is_written_loses_rows_at_most(tmp_path: Path) -> None:
    generator = random.Random(1)
    for _ in range(3):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        time.sleep(generator.uniform(0.01, 0.1))
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        index = DigestIndex(tmp_path)
        found = [n for n in range(500) if index.digest(tmp_path / str(n), STATE._replace(size=n))]
        assert found
        assert all(index.digest(tmp_path / str(n), STATE._replace(size=n)) == digest(n) for n in found)
        index.close()


def test_a_copied_folder_keeps_the_rows_of_other_files(tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    index = filled(folder)
    (folder / "0").write_bytes(b"")
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    assert known(DigestIndex(copy), copy) == [0, 1, 2]
    assert index.digest(copy / "0", STATE) is None


def test_a_digest_computed_beside_other_work(tmp_path: Path) -> None:
    path = tmp_path / "video.mp4"
    path.write_bytes(os.urandom(9_000_000))
    with digest_in_background(path) as result:
        assert result(lambda: None) == file_digest(path)
    with digest_in_background(path):
        pass  # given up
    with digest_in_background(tmp_path / "missing") as result, pytest.raises(FileNotFoundError):
        result(lambda: None)
