"""Ctrl-C on a terminal: the command stops within seconds with a message; run again, it resumes."""

import os
import signal
import subprocess
import time
from pathlib import Path

from flows.demo.footage import make_footage
from tests.flows.commands import DSANET


def start(manifest: Path, out: Path) -> subprocess.Popen[str]:
    """Start `dsanet extract` in a new process group, as a shell does."""
    options = ["--preset", "small", "--weights", "random", "--set", "extract.snippet_length=256"]
    command = [*DSANET, "extract"]
    return subprocess.Popen(
        [*command, "--manifest", str(manifest), "--out", str(out), *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "PREFECT_HOME": str(out.parent / "prefect")},
    )


def test_an_interrupted_extraction_stops_within_seconds_and_resumes(tmp_path: Path) -> None:
    manifest, _ = make_footage(tmp_path / "footage", seed=2, normal=2, per_event=1)
    features = tmp_path / "ws" / "features"
    first = start(manifest, tmp_path / "ws")
    deadline = time.monotonic() + 240
    while not list(features.glob("*.h5")) and time.monotonic() < deadline and first.poll() is None:
        time.sleep(0.1)
    os.killpg(first.pid, signal.SIGINT)
    output, _ = first.communicate(timeout=40)
    assert first.returncode == 130, output
    assert "interrupted; finished work is kept" in output
    assert "Traceback" not in output
    finished = {path: path.stat().st_mtime_ns for path in features.glob("*.h5")}
    assert finished
    assert not list(features.glob(".*.part"))

    second = start(manifest, tmp_path / "ws")
    output, _ = second.communicate(timeout=300)
    assert second.returncode == 0, output
    assert len(list(features.glob("*.h5"))) == 13
    assert all(path.stat().st_mtime_ns == written for path, written in finished.items())
