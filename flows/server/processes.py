"""Processes on this machine: whether a recorded one is still running, and how it is stopped."""

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psutil


def running_process(pid: int, is_same: Callable[[float], bool]) -> psutil.Process | None:
    """The process with this id, or None if it has ended (a zombie counts as ended).

    `is_same` gets the start time (seconds since the epoch) and returns False for a later process that was
    given the same id.
    """
    try:
        process = psutil.Process(pid)
        ended = process.status() == psutil.STATUS_ZOMBIE or not is_same(process.create_time())
    except psutil.NoSuchProcess:
        return None
    return None if ended else process


@contextmanager
def default_sigint_in_children() -> Iterator[None]:
    """Start child processes with SIGINT's default action even if this process ignores it (`dsanet up &`).

    Prefect's worker reacts to SIGTERM by sending SIGINT to itself, so it would not stop while it ignores
    SIGINT.
    """
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    if ignored:
        signal.signal(
            signal.SIGINT, signal.default_int_handler
        )  # exec resets a handler to the default action
    try:
        yield
    finally:
        if ignored:
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def terminate_children(process: psutil.Process, timeout_s: float | None = None) -> None:
    """Send SIGTERM to the direct children and wait until they have ended.

    Prefect's worker kills its runs when it is stopped. A run that gets SIGTERM first reports its state
    Crashed to the server, which otherwise keeps it in Running.
    """
    with suppress(psutil.NoSuchProcess):
        _terminate(process.children(), timeout_s)


def stop_tree(process: psutil.Process, timeout_s: float) -> None:
    """Stop a process and its descendants: SIGTERM, and SIGKILL for those left after `timeout_s` seconds."""
    with suppress(psutil.NoSuchProcess):
        remaining = _terminate([*process.children(recursive=True), process], timeout_s)
        for each in remaining:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(remaining, timeout=timeout_s)


def _terminate(processes: Sequence[psutil.Process], timeout_s: float | None) -> list[psutil.Process]:
    """Send SIGTERM and wait; returns the processes that are still running."""
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.terminate()
    return psutil.wait_procs(processes, timeout=timeout_s)[1]
