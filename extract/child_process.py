"""Processes that run one of our own modules, connected to the process that starts them.

They are not `multiprocessing` children, which would import the caller's main module (torch and more) again.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_ONE_NUMPY_THREAD = {"OPENBLAS_NUM_THREADS": "1"}
_IMPORT_ROOT = Path(__file__).parents[1]


def start_module(
    module: str,
    *descriptors: int,
    inherited: Sequence[int] = (),
    numpy_threads: bool = False,
    output: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start `python -m module`, with the numbers of these file descriptors as arguments.

    `inherited` descriptors stay open in the process too. Without `numpy_threads`, none are started for numpy.
    `output`: descriptor of a file for the texts that it prints; None: where this process prints.
    `environment`: variables that are added to those of this process.
    """
    return subprocess.Popen(
        [sys.executable, "-m", module, *map(str, descriptors)],
        pass_fds=[*descriptors, *inherited],
        cwd=_IMPORT_ROOT,  # `-m` searches the working directory first
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=os.environ | ({} if numpy_threads else _ONE_NUMPY_THREAD) | dict(environment or {}),
        start_new_session=True,  # Ctrl-C reaches the parent only
    )


def end_process(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    """Wait for the end of a process that was asked to end; kill it if that takes longer than `timeout_s`."""
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def exit_reason(code: int) -> str:
    """Why a process with this return code ended, for example `killed by SIGKILL, perhaps out of memory`."""
    killer = killing_signal(code)
    return f"killed by {killer}" if killer else f"exit code {code}"


def killing_signal(code: int) -> str:
    """The signal in a return code, for example `SIGKILL, perhaps out of memory`; empty if there is none."""
    if code >= 0:
        return ""
    hint = ", perhaps out of memory" if code == -signal.SIGKILL else ""
    return f"{signal.Signals(-code).name}{hint}"
