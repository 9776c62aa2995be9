"""The processes of `dsanet up`: recognised while they run, and stopped, runs before their worker."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from flows.server.processes import (
    default_sigint_in_children,
    running_process,
    stop_tree,
    terminate_children,
)

WORKER = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
child.wait()
time.sleep(600)
"""
RUN = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "reported").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "started").touch()
time.sleep(600)
"""


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[psutil.Process]:
    """A process with a child that takes half a second to end."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, RUN, str(tmp_path)])
    wait_for((tmp_path / "started").exists)
    yield psutil.Process(process.pid)
    process.kill()
    process.wait()


def test_children_end_first_and_finish_their_work(worker: psutil.Process, tmp_path: Path) -> None:
    (child,) = worker.children()
    terminate_children(worker, 30)
    assert (tmp_path / "reported").exists()
    assert not child.is_running()
    assert worker.is_running()
    stop_tree(worker, 30)
    assert running_process(worker.pid, lambda created: True) is None


def test_a_tree_is_stopped_with_its_descendants(worker: psutil.Process) -> None:
    (child,) = worker.children()
    stop_tree(worker, 30)
    assert not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in (worker.pid, child.pid)
    )
    stop_tree(worker, 30)  # nothing to stop


def test_a_process_is_recognised_by_its_start_time(worker: psutil.Process) -> None:
    created = worker.create_time()
    assert running_process(worker.pid, lambda found: found == created) == worker
    assert running_process(worker.pid, lambda found: found < created) is None


@pytest.fixture
def ignored_sigint() -> Iterator[None]:
    """SIGINT ignored, as in a command that a shell script starts with `&`."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.mark.usefixtures("ignored_sigint")
def test_a_service_gets_the_default_action_of_sigint_back() -> None:
    command = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT).name)"]
    assert subprocess.check_output(command, text=True) == "SIG_IGN\n"
    command = [sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT).__name__)"]
    with default_sigint_in_children():
        assert subprocess.check_output(command, text=True) == "default_int_handler\n"
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
