"""Check that files are decodable videos, in a separate process: a decoder that crashes must not end the run.

`python -m flows.library.prober` reads paths as lines of JSON and answers each with the problem, or `""`.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO

from typing_extensions import Self

from extract.display import printable

TIMEOUT_S = 600.0
FILES_OF_A_PROCESS = 200
"""Files after which a new process takes over, so that what one of them leaves behind harms few others."""
_IMPORT_ROOT = Path(__file__).parents[2]


def unusable_reason(path: Path) -> str:
    """`Prober.unusable_reason` for a single file."""
    with Prober() as prober:
        return prober.unusable_reason(path)


class Prober:
    """Probes files one after the other in a process that is started when it is needed, and after a crash."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._probed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def unusable_reason(self, path: Path) -> str:
        """Why the file cannot be decoded as a video; empty if no problem is found."""
        if self._probed >= FILES_OF_A_PROCESS:
            self._stop()
        try:
            process = self._running()
        except OSError as error:  # no memory or no process left
            return f"the decoder could not be started: {error.strerror}"
        self._probed += 1
        try:
            answer = _ask(process, path)
        except TimeoutError:
            self._stop()
            return f"the decoder did not finish probing the file within {TIMEOUT_S:.0f} s"
        if answer is not None:
            return answer
        return f"the decoder crashes on the file ({self._cause(process)})"

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _stop
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.library.prober"],
                cwd=_IMPORT_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
            )
        return self._process

    def _cause(self, process: "subprocess.Popen[bytes]") -> str:
        """The signal that ended the process, or the exception that it printed last."""
        code = process.wait()
        assert self._errors is not None
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        self._stop()
        if code == -signal.SIGKILL:
            return "killed by SIGKILL, probably for lack of memory"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return printable(lines[-1]) if lines else f"exit code {code}"

    def _stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # closes the pipes
        if self._errors is not None:
            self._errors.close()
        self._process, self._errors, self._probed = None, None, 0


def _ask(process: "subprocess.Popen[bytes]", path: Path) -> str | None:
    """The process's answer; None if it ends instead. Raises TimeoutError."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(str(path.absolute())).encode() + b"\n")
        process.stdin.flush()
    except BrokenPipeError:
        return None
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        if not selector.select(TIMEOUT_S):
            raise TimeoutError
    line = process.stdout.readline()
    return str(json.loads(line)) if line.endswith(b"\n") else None


def _problem(path: Path) -> str:
    from extract.decode.probe import probe

    try:
        probe(path)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ValueError as error:
        return printable(" ".join(str(error).split())) or type(error).__name__
    return ""


def _answer() -> None:
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)  # a decoder that prints something does not get between the answers
        for line in sys.stdin:
            print(json.dumps(_problem(Path(json.loads(line)))), file=answers, flush=True)


if __name__ == "__main__":
    _answer()
