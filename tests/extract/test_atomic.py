"""Atomic writes: several writers of one file, leftovers of a killed writer, long names, refused content."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from extract.atomic import part_path, write_atomically


def names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


def test_threads_that_write_one_file_leave_one_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    contents = [bytes([65 + i]) * 300_000 for i in range(8)]
    barrier = threading.Barrier(len(contents))

    def write(content: bytes) -> None:
        barrier.wait()
        for _ in range(5):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(len(contents)) as pool:
        list(pool.map(write, contents))
    assert names(tmp_path) == ["page.html"]


WRITER = """
import sys
from pathlib import Path
from extract.atomic import write_atomically
path, letter = Path(sys.argv[1]), sys.argv[2]
print("ready", flush=True)
sys.stdin.readline()
for _ in range(30):
    write_atomically(path, letter * 200_000)
"""


def test_processes_that_write_one_file_leave_one_whole_content(tmp_path: Path) -> None:
    path = tmp_path / "workspace.json"
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), letter],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        for letter in "abc"
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.communicate("go\n", timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert path.read_text() in [letter * 200_000 for letter in "abc"]
    assert names(tmp_path) == ["workspace.json"]


def test_a_killed_writer_leaves_the_old_file_and_the_next_writer_removes_its_rest(tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text("old")
    script = f"""
import os, signal
from pathlib import Path
from extract.atomic import write_atomically
write_atomically(Path({str(path)!r}), "x" * 100_000, check=lambda part: os.kill(os.getpid(), signal.SIGKILL))
"""
    killed = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"
    assert part_path(path).stat().st_size == 100_000
    write_atomically(path, "new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["model.json"]


def test_a_refused_content_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    path.write_text("old")

    def refuse(part: Path) -> None:
        raise ValueError(part.read_text())

    with pytest.raises(ValueError, match="new"):
        write_atomically(path, "new", check=refuse)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.h5"]


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "\udcff" * 255])
def test_the_longest_names_that_a_file_system_allows_can_be_written(name: str, tmp_path: Path) -> None:
    write_atomically(tmp_path / name, "content")
    assert names(tmp_path) == [name]
