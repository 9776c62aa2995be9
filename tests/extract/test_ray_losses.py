"""A Ray cluster of three nodes with addresses of their own; processes and nodes are lost at random."""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from extract.config import ExtractConfig, ExtractRuntime
from extract.engine import extract_videos
from extract.errors import InputError
from extract.progress import ExtractProgress
from tests.extract.numbered_clips import make_clip, records_of
from tests.extract.test_ray import run, steps
from tests.network_namespaces import HOST, namespaces
from tests.ray_nodes import QUIET, TOKEN, Node, RayNodes, free_port, running_nodes

pytestmark = pytest.mark.slow
CONFIG = ExtractConfig(weights="random", precision="fp32")
KILLS = 20
NAMES = "abcdefghijklmnopqrstuvwxyz"


@dataclass
class Network:
    """The cluster: the head on this machine takes no tasks, each other node has a namespace of its own."""

    cluster: RayNodes
    places: dict[str, tuple[str, ...]]
    nodes: dict[str, Node]

    def start(self, address: str) -> None:
        prefix = self.places[address]
        self.nodes[address] = self.cluster.add(f"--node-ip-address={address}", prefix=prefix)

    def lose(self, address: str) -> None:
        """Kill all processes of a node, and start another one at its address."""
        self.nodes[address].kill()
        self.start(address)

    def kill_worker(self, address: str) -> bool:
        """Kill the process of the node's task; False if none runs."""
        workers = self.nodes[address].named("ray::run_shard")
        for worker in workers:
            worker.kill()
        return bool(workers)


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    for name, value in (TOKEN | QUIET).items():
        monkeypatch.setenv(name, value)
    (tmp_path / "nodes").mkdir()
    with namespaces(3) as places:
        cluster = RayNodes(tmp_path / "nodes", HOST, free_port())
        network = Network(cluster, places, {})
        try:
            for address in places:
                network.start(address)
            yield network
        finally:
            cluster.close()


def test_twenty_kills_lose_nothing_and_change_no_byte(network: Network, tmp_path: Path) -> None:
    """In each round every node loses a process or is lost as a whole, in a random order."""
    videos = tmp_path / "videos"
    videos.mkdir()
    clips = [make_clip(videos / f"v{number:02d}.mp4", 16 + number % 5) for number in range(4 * KILLS)]
    records = records_of(*clips)
    extract_videos(records, tmp_path / "here", CONFIG, ExtractRuntime(device="cpu", workers=2))
    choice = random.Random(0)
    order: list[str] = []
    kills = done = 0

    def kill(progress: ExtractProgress) -> None:
        nonlocal kills, done
        if kills == KILLS or progress.videos_done < done + 2:
            return
        if not order:
            order.extend(choice.sample(sorted(network.places), 3))
        if choice.random() < 0.2:
            network.lose(order.pop())
        elif not network.kill_worker(order[-1]):
            return
        else:
            order.pop()
        kills, done = kills + 1, progress.videos_done

    runtime = ExtractRuntime(runner="ray", ray_address=network.cluster.address)
    result = extract_videos(records, tmp_path / "there", CONFIG, runtime, kill)
    assert kills == KILLS
    assert not result.failures
    assert result.extracted == [record.name for record in records]
    for path in (tmp_path / "here").glob("*.h5"):
        assert (tmp_path / "there" / path.name).read_bytes() == path.read_bytes()


def test_a_node_is_stopped_and_another_one_added(network: Network, tmp_path: Path) -> None:
    _, *others = network.places

    def change(count: int) -> None:
        if count == 3:
            for address in others:
                network.nodes[address].stop()
        if count == 6:
            network.start(others[0])

    done, given_up = run(network.cluster, steps(tmp_path / "journal", NAMES, 1.0), change)
    assert sorted(done) == list(NAMES)
    assert not given_up


def test_the_head_is_restarted(network: Network, tmp_path: Path) -> None:
    """What was done is not done again; the nodes, which end without their head, are started again."""

    def restart(count: int) -> None:
        if count == 5:
            network.cluster.restart_head()
            for address in network.places:
                network.start(address)

    done, given_up = run(network.cluster, steps(tmp_path / "journal", NAMES, 0.5), restart)
    assert sorted(done) == list(NAMES)
    assert not given_up


def test_a_node_that_does_not_see_the_videos_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would soon have failed all of them."""
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    if os.geteuid() != 0:
        pytest.skip("another view of the file system needs root")
    for name, value in (TOKEN | QUIET).items():
        monkeypatch.setenv(name, value)
    for folder in ("videos", "nodes"):
        (tmp_path / folder).mkdir()
    for number in range(12):
        (tmp_path / "videos" / f"v{number}.mp4").write_bytes(b"not a video")
    hide = f"mount -t tmpfs none '{tmp_path / 'videos'}' && exec \"$@\""
    with running_nodes(tmp_path / "nodes", 0) as cluster:
        cluster.add(prefix=("unshare", "--mount", "sh", "-c", hide, "sh"))
        runtime = ExtractRuntime(runner="ray", ray_address=cluster.address)
        records = records_of(*sorted((tmp_path / "videos").iterdir()))
        with pytest.raises(
            InputError, match=r"finds none of the videos, the last one .*mp4; every node must"
        ):
            extract_videos(records, tmp_path / "features", CONFIG, runtime)
