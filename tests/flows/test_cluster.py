"""A run away from this machine: videos and workspace in an object store, extraction and scoring on Ray.

The results are those of a local run, also when workers, nodes, the head and the store are lost on the way.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluate.scores import read_scores
from extract.remote.store import Store
from extract.store import parse_features, read_features
from flows.demo.footage import make_footage
from tests.flows.commands import DSANET
from tests.flows.tiny import OPTIONS
from tests.object_store import ACCESS, S3Server
from tests.ray_nodes import QUIET, TOKEN, RayNodes, running_nodes
from tests.store_proxy import Proxy, proxied

SETTINGS = ("model.bag_length=16", "train.epochs=2", "evaluate.bootstrap=20")
TIMEOUT_S = 900


def command(manifest: Path | str, out: Path | str, *settings: str) -> list[str]:
    options = [word for setting in (*SETTINGS, *settings) for word in ("--set", setting)]
    return [*DSANET, "run", "--manifest", str(manifest), "--out", str(out), *OPTIONS, *options]


def wait_until(reached: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not reached():
        assert process.poll() is None, f"ended with exit code {process.returncode}"
        assert time.monotonic() < until
        time.sleep(0.2)


@pytest.mark.slow
def test_losses_of_every_kind_end_with_the_results_of_a_local_run(s3: S3Server, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    manifest, _ = make_footage(tmp_path / "footage", seed=3, normal=8, per_event=6)
    subprocess.run(command(manifest, tmp_path / "ws"), check=True, capture_output=True)
    bucket = f"s3://{s3.new_bucket()}"
    for path in manifest.parent.rglob("*.*"):
        Store(f"{bucket}/footage").upload(path, path.relative_to(manifest.parent).as_posix())
    place = Store(f"{bucket}/ws")
    (tmp_path / "nodes").mkdir()
    with proxied(s3.port) as proxy, running_nodes(tmp_path / "nodes", 2) as nodes:  # the nodes use it too
        with (tmp_path / "output").open("w") as output:
            process = subprocess.Popen(
                command(
                    f"{bucket}/footage/{manifest.name}",
                    place.address,
                    "runtime.runner=ray",
                    f"runtime.ray_address={nodes.address}",
                ),
                env=os.environ | TOKEN | QUIET | {"DSANET_CACHE": str(tmp_path / "cache")},
                stdout=output,
                stderr=output,
            )
        try:
            _disturb(process, nodes, s3, proxy, place)
            code = process.wait(TIMEOUT_S)
        finally:
            process.kill()
        said = (tmp_path / "output").read_text()
        assert code == 0, said
        assert ACCESS["AWS_SECRET_ACCESS_KEY"] not in said
        _check_results(place, tmp_path / "ws")


def _disturb(
    process: subprocess.Popen[bytes], nodes: RayNodes, s3: S3Server, proxy: Proxy, place: Store
) -> None:
    """Each loss in turn, while features are being made."""

    def made() -> int:
        return sum(key.startswith("features/") and key.endswith(".h5") for key in place.list())

    def wait_for(count: int) -> None:
        wait_until(lambda: made() >= count, process)

    wait_for(1)
    nodes.workers()[0].kill()
    wait_for(4)
    proxy.faults += [("PUT", "slow down")] * 5 + [("PUT", "cut")] * 2 + [("PUT", "lose")] * 2
    wait_for(8)
    nodes.nodes.pop(0).stop()
    nodes.add()
    wait_for(12)
    nodes.restart_head()
    nodes.add()
    nodes.add()
    wait_for(16)
    s3.stop()
    time.sleep(60)
    s3.start()


def _check_results(there: Store, here: Path) -> None:
    keys = there.list()
    names = {path.relative_to(here).as_posix() for path in (here / "features").glob("*.h5")}
    assert {key for key in keys if key.startswith("features/") and key.endswith(".h5")} == names
    for name in names:
        found, expected = parse_features(Path(name), there.read(name)), read_features(here / name)
        assert found.features.tobytes() == expected.features.tobytes()
        assert found.meta.source.sha256 == expected.meta.source.sha256
    for path in (here / "scores").glob("*.h5"):
        there.download(f"scores/{path.name}", here / path.name)
        found_scores, expected_scores = read_scores(here / path.name), read_scores(path)
        assert found_scores.anomaly_T.tobytes() == expected_scores.anomaly_T.tobytes()
        assert found_scores.classes_TC.tobytes() == expected_scores.classes_TC.tobytes()
    found_metrics = json.loads(there.read("report/metrics.json"))
    expected_metrics = json.loads((here / "report" / "metrics.json").read_text())
    differing = {name for name in expected_metrics if found_metrics[name] != expected_metrics[name]}
    assert differing == {"config", "digests"}
