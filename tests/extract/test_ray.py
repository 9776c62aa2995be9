"""Work on the nodes of a Ray cluster: equal results, and what happens when processes are lost."""

import logging
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from extract.cluster import connection
from extract.cluster.connection import ClusterConnection
from extract.cluster.messages import Done, Item, Killed, Setup
from extract.cluster.versions import OURS, other_versions, require_this_version, versions
from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from extract.errors import InputError
from extract.progress import ExtractProgress
from tests.child_processes import children_running
from tests.extract.numbered_clips import make_clip, records_of
from tests.ray_nodes import RayNodes, free_port
from tests.ray_work import Step, Steps

CONFIG = ExtractConfig(weights="random", precision="fp32")


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def steps(journal: Path, names: str, seconds: float = 0.0, **then: str) -> list[Item]:
    return [Item(name, 1, Step(journal, seconds, then.get(name, ""))) for name in names]


def connected(cluster: RayNodes, files: dict[str, Path] | None = None) -> ClusterConnection:
    return ClusterConnection(Setup(cluster.address, "auto", None, Steps(files or {})))


def run(
    cluster: RayNodes, items: list[Item], on_done: Callable[[int], None] = lambda count: None
) -> tuple[list[str], list[Killed]]:
    """Names of the items that were done, in order, and those given up."""
    done: list[str] = []
    killed: list[Killed] = []
    with connected(cluster) as cluster_connection:
        cluster_connection.connect()
        for message in cluster_connection.run(items):
            if isinstance(message, Done):
                done.append(message.name)
                on_done(len(done))
            elif isinstance(message, Killed):
                killed.append(message)
    return done, killed


def gone(processes: list[psutil.Process], seconds: float) -> bool:
    _, alive = psutil.wait_procs(processes, seconds)
    return not alive


def listening_addresses() -> set[str]:
    """The addresses at which the driver process and its children listen."""
    found = set()
    (driver,) = children_running("extract.cluster.driver_process")
    for process in [driver, *driver.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            sockets = [one for one in process.net_connections("tcp") if one.status == psutil.CONN_LISTEN]
            found |= {one.laddr.ip.removeprefix("::ffff:") for one in sockets}
    return found


def test_two_nodes_write_the_bytes_of_this_machine(
    ray_nodes: RayNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = [make_clip(tmp_path / f"{name}.mp4", 32 + 16 * i) for i, name in enumerate("abc")]
    (tmp_path / "e.mp4").write_bytes(b"not a video")
    records = records_of(*clips, tmp_path / "e.mp4", tmp_path / "f.mp4")  # the last one does not exist
    here, there = tmp_path / "here", tmp_path / "there"
    expected = extract_videos(records, here, CONFIG, ExtractRuntime(device="cpu", workers=2))
    seen: list[ExtractProgress] = []
    runtime = ExtractRuntime(runner="ray", ray_address=ray_nodes.address)
    written: list[Path] = []
    found = extract_videos(records, there, CONFIG, runtime, seen.append, on_written=written.append)
    assert {p.name: p.read_bytes() for p in there.glob("*.h5")} == {
        p.name: p.read_bytes() for p in here.glob("*.h5")
    }
    assert found.extracted == expected.extracted == ["a", "b", "c"]
    reasons = {failure.name: failure.reason for failure in expected.failures}
    reasons["f"] += f" (on node {socket.gethostname()} of the Ray cluster)"
    assert {failure.name: failure.reason for failure in found.failures} == reasons
    assert reasons.keys() == {"e", "f"}
    assert sorted(path.name for path in written) == ["a.h5", "b.h5", "c.h5"]
    assert (seen[-1].videos_done, seen[-1].videos_total, seen[-1].failures) == (5, 5, 2)
    assert seen[-1].snippets_done == seen[-1].snippets_total == 2 + 3 + 4
    assert not ray_nodes.workers()


def test_files_are_sent_to_the_nodes(ray_nodes: RayNodes, tmp_path: Path) -> None:
    (tmp_path / "weights").write_text("tensors")
    with connected(ray_nodes, {"weights.txt": tmp_path / "weights"}) as cluster:
        assert cluster.connect() == ("cpu", 1, {"weights.txt": "tensors"})


def test_what_a_killed_worker_had_finished_is_not_done_again(
    ray_nodes: RayNodes, journal: Path, caplog: pytest.LogCaptureFixture
) -> None:
    names = "abcdefghijklmnopqrstuvwxyz"
    killed: list[psutil.Process] = []

    def kill(count: int) -> None:
        if count == 5:
            killed.append(ray_nodes.workers()[0])
            killed[0].kill()

    with caplog.at_level(logging.WARNING):
        done, given_up = run(ray_nodes, steps(journal, names, 0.2), kill)
    assert sorted(done) == list(names)
    assert not given_up
    ends = [line for line in journal.read_text().splitlines() if line.startswith("end")]
    assert len(ends) <= len(names) + 1  # the result of the last item may have been on its way
    assert "its process was killed or crashed" in caplog.text


def test_an_item_that_kills_its_workers_is_named(ray_nodes: RayNodes, journal: Path) -> None:
    done, given_up = run(ray_nodes, steps(journal, "abcdef", c="kill"))
    assert sorted(done) == list("abdef")
    assert [killed.name for killed in given_up] == ["c"]
    assert "it ended its process on the Ray cluster 5 times" in given_up[0].reason


def test_leaving_the_work_ends_the_tasks_within_seconds(ray_nodes: RayNodes, journal: Path) -> None:
    processes: list[psutil.Process] = []

    def stop(count: int) -> None:
        processes.extend(ray_nodes.workers())
        raise KeyboardInterrupt

    items = [*steps(journal, "a"), *steps(journal, "bcdefgh", 60)]
    with pytest.raises(KeyboardInterrupt):
        run(ray_nodes, items, stop)
    assert processes
    assert gone(processes, 10)


@pytest.mark.parametrize(
    ("then", "error", "text"),
    [("refuse", InputError, "^the item is refused$"), ("fail", RuntimeError, "a mistake in the program")],
)
def test_an_error_of_a_task_ends_the_work(
    ray_nodes: RayNodes, journal: Path, then: str, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        run(ray_nodes, steps(journal, "abc", b=then))


@pytest.mark.slow
def test_another_token_is_refused_in_one_line(ray_nodes: RayNodes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "f" * 64)
    with (
        connected(ray_nodes) as cluster,
        pytest.raises(InputError, match="its token is missing or another"),
    ):
        cluster.connect()


def test_no_cluster_is_an_error_within_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"127.0.0.1:{free_port()}"
    began = time.monotonic()
    with (
        ClusterConnection(Setup(address, "auto", None, Steps({}))) as cluster,
        pytest.raises(InputError, match=rf"no Ray cluster answers at {address} \(Connection refused\)"),
    ):
        cluster.connect()
    assert time.monotonic() - began < 30


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'pip install "dsanet\[ray\]"'):
        ClusterConnection(Setup(None, "auto", None, Steps({})))


@pytest.mark.parametrize("address", ["ray://head:10001", "user:secret@head:6379"])
def test_an_address_is_no_url_and_holds_no_credentials(address: str) -> None:
    with pytest.raises(ValueError, match="expected HOST:PORT, auto or local") as error:
        ExtractRuntime(ray_address=address)
    assert "holds no credentials" in str(error.value)


def test_another_version_on_a_node_is_an_error_and_other_libraries_are_named() -> None:
    assert other_versions(versions()) == ""
    other = versions() | {"av": "1.0"}
    assert other_versions(other) == f"av 1.0 (here {versions()['av']})"
    require_this_version("node1", other)
    with pytest.raises(InputError, match="node node1 of the Ray cluster has another version of dsanet"):
        require_this_version("node1", versions() | {OURS: "0"})


@pytest.mark.slow
def test_a_ray_of_this_machine_alone_does_the_work(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    with ClusterConnection(Setup("local", "cpu", 1, Steps({}))) as cluster:
        assert cluster.connect() == ("cpu", 1, {})
        messages = list(cluster.run(steps(journal, "abc")))
        assert sorted(message.name for message in messages if isinstance(message, Done)) == list("abc")
        assert listening_addresses() == {"127.0.0.1"}


def test_an_address_in_the_environment_holds_no_credentials_either(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "ray://user:secret@head:10001")
    with pytest.raises(InputError, match="RAY_ADDRESS is no URL") as error:
        ClusterConnection(Setup(None, "auto", None, Steps({})))
    assert "secret" not in str(error.value)
