"""Is a file a video? Asked in a process of its own: what makes a decoder crash must not end the run."""

import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 600.0
_IMPORT_ROOT = Path(__file__).parents[2]


def why_unusable(path: Path) -> str:
    """Why the file is no video that could be decoded; empty where nothing speaks against it."""
    command = [sys.executable, "-m", "flows.library.prober", str(path.absolute())]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=_IMPORT_ROOT, check=False
        )
    except subprocess.TimeoutExpired:
        return f"the decoder has not finished looking at it in {TIMEOUT_S:.0f} s"
    return done.stdout.strip() if done.returncode == 0 else "the decoder crashes on it"


def _print_problem(path: Path) -> None:
    from extract.decode.probe import probe

    try:
        probe(path)
    except (ValueError, OSError) as error:
        print(" ".join(str(error).split()) or type(error).__name__)


if __name__ == "__main__":
    _print_problem(Path(sys.argv[1]))
