"""Runs over a workspace in an object store that are killed at random moments: nothing lost, nothing half."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from extract.remote.store import Store
from extract.store import parse_features
from flows.demo.footage import make_footage
from flows.workspace.remote_lock import LOCK_KEY
from tests.flows.commands import DSANET
from tests.flows.tiny import OPTIONS
from tests.object_store import S3Server

KILLS = 20
SETTINGS = ("extract.snippet_length=64", "model.bag_length=16", "train.epochs=2", "evaluate.bootstrap=20")


def command(out: str | Path, manifest: Path) -> list[str]:
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    return [*DSANET, "run", "--manifest", str(manifest), "--out", str(out), *OPTIONS, *settings]


@pytest.mark.slow
def test_twenty_random_kills_end_like_an_undisturbed_run(s3: S3Server, tmp_path: Path) -> None:
    manifest, _ = make_footage(tmp_path / "footage", seed=2, normal=4, per_event=2)
    place = f"s3://{s3.new_bucket()}/ws"
    environment = os.environ | {"DSANET_CACHE": str(tmp_path / "cache")}
    began = time.monotonic()
    subprocess.run(command(tmp_path / "ws", manifest), check=True, capture_output=True, env=environment)
    undisturbed_s = time.monotonic() - began
    moments = random.Random(17)
    killed = 0
    for _ in range(KILLS):
        process = subprocess.Popen(
            command(place, manifest),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        try:
            process.wait(moments.uniform(2, 0.8 * undisturbed_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            killed += 1
        check_that_nothing_is_half(place)
    done = subprocess.run(command(place, manifest), capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert killed > KILLS / 2
    there, here = Store(place), tmp_path / "ws"
    keys = there.list()
    assert LOCK_KEY not in keys
    for folder in ("features", "model", "scores", "report"):
        expected = {
            path.relative_to(here).as_posix(): path.read_bytes()
            for path in (here / folder).rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }
        assert {key for key in keys if key.startswith(f"{folder}/")} == expected.keys()
        assert [key for key, content in expected.items() if there.read(key) != content] == []


def check_that_nothing_is_half(place: str) -> None:
    store = Store(place)
    keys = store.list()
    for key in keys:
        if key.startswith("features/") and key.endswith(".h5"):
            parse_features(Path(key), store.read(key))  # raises for a damaged one
    if "model/model.json" in keys:
        assert "model/model.safetensors" in keys
    if "report/metrics.json" in keys:
        assert "report/index.html" in keys
