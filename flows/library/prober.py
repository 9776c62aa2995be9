"""Check that a file is a decodable video, in a separate process: a decoder that crashes must not end the run.

`python -m flows.library.prober PATH` prints the problem, or nothing.
"""

import signal
import subprocess
import sys
from pathlib import Path

from extract.display import printable

TIMEOUT_S = 600.0
_IMPORT_ROOT = Path(__file__).parents[2]


def unusable_reason(path: Path) -> str:
    """Why the file cannot be decoded as a video; empty if no problem is found."""
    command = [sys.executable, "-m", "flows.library.prober", str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, cwd=_IMPORT_ROOT, check=False)
    except subprocess.TimeoutExpired:
        return f"the decoder did not finish probing the file within {TIMEOUT_S:.0f} s"
    except OSError as error:  # no memory or no process left
        return f"the decoder could not be started: {error.strerror}"
    if done.returncode == 0:
        return done.stdout.decode(errors="replace").strip()
    return f"the decoder crashes on the file ({_cause(done.returncode, done.stderr)})"


def _cause(code: int, stderr: bytes) -> str:
    """The signal that ended the process, or the exception that it printed last."""
    if code == -signal.SIGKILL:
        return "killed by SIGKILL, probably for lack of memory"
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    lines = stderr.decode(errors="replace").strip().splitlines()
    return printable(lines[-1]) if lines else f"exit code {code}"


def _print_problem(path: Path) -> None:
    from extract.decode.probe import probe

    try:
        probe(path)
    except OSError as error:
        print(error.strerror or type(error).__name__)
    except ValueError as error:
        print(printable(" ".join(str(error).split())) or type(error).__name__)


if __name__ == "__main__":
    _print_problem(Path(sys.argv[1]))
