"""Check that a file is a decodable video, in a separate process: a decoder that crashes must not end the run.

`python -m flows.library.prober PATH` prints the problem, or nothing.
"""

import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 600.0
_IMPORT_ROOT = Path(__file__).parents[2]


def unusable_reason(path: Path) -> str:
    """Why the file cannot be decoded as a video; empty if no problem is found."""
    command = [sys.executable, "-m", "flows.library.prober", str(path.absolute())]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=_IMPORT_ROOT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the decoder did not finish probing the file within {TIMEOUT_S:.0f} s"
    return done.stdout.strip() if done.returncode == 0 else "the decoder crashes on the file"


def _print_problem(path: Path) -> None:
    from extract.decode.probe import probe

    try:
        probe(path)
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()) or type(error).__name__)


if __name__ == "__main__":
    _print_problem(Path(sys.argv[1]))
