"""A Ray cluster for tests: nodes of this machine, each a group of processes that can be killed.

Their address is that of the machine, or that of a network namespace of their own.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4}
"""Environment of every node, and of every process that connects to them."""
QUIET = {"RAY_USAGE_STATS_ENABLED": "0"}
_MARK = "DSANET_TEST_NODE"
"""Variable in the environment of a node's processes."""
_STORE = f"--object-store-memory={100_000_000}"


class Node:
    """One node; `arguments` are those of `ray start`, `prefix` comes before the command."""

    def __init__(self, log: Path, *arguments: str, prefix: tuple[str, ...] = ()) -> None:
        ray = Path(sys.executable).with_name("ray")
        command = [*prefix, str(ray), "start", "--block", "--disable-usage-stats", _STORE, *arguments]
        self._log, self._mark = log, str(log)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                command,
                env=_environment() | {_MARK: self._mark},
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def has_started(self) -> bool:
        """Wait until the node belongs to the cluster; False if it has ended before."""
        while self._process.poll() is None:
            if b"will now block forever" in self._log.read_bytes():
                return True
            time.sleep(0.1)
        return False

    def processes(self) -> list[psutil.Process]:
        """All processes of the node; some are not children of `ray start`."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(_MARK) == self._mark:
                    found.append(process)
        return found

    def named(self, part: str) -> list[psutil.Process]:
        """The processes whose command line holds `part`."""
        found = []
        for process in self.processes():
            with suppress(psutil.Error):
                if part in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def kill(self) -> None:
        """SIGKILL to all processes of the node, as a power failure."""
        processes = self.processes()
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait()
        psutil.wait_procs(processes, 10)

    def stop(self) -> None:
        """End the node as its administrator does."""
        self._process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self.kill()


class RayNodes:
    """A cluster with nodes of one CPU each; the head takes tasks if it has any."""

    def __init__(self, folder: Path, host: str, port: int, head_cpus: int = 0) -> None:
        self._folder = folder
        self.address = f"{host}:{port}"
        self._host, self._port, self._head_cpus = host, port, head_cpus
        self.nodes: list[Node] = []
        self.head = self._start_head()

    def _start_head(self) -> Node:
        place = (f"--node-ip-address={self._host}", f"--port={self._port}")
        cpus = f"--num-cpus={self._head_cpus}"
        return self._node("--head", *place, cpus, "--include-dashboard=false")

    def restart_head(self) -> None:
        """Kill the head, and the nodes, which would end without it, and start a head at its address.

        Ray refuses to start one as long as it sees a node of the old one on this machine.
        """
        self.head.kill()
        for node in self.nodes:
            node.kill()
        self.nodes.clear()
        self.head = self._start_head()

    def add(self, *arguments: str, cpus: int = 1, prefix: tuple[str, ...] = ()) -> Node:
        node = self._node(f"--address={self.address}", f"--num-cpus={cpus}", *arguments, prefix=prefix)
        self.nodes.append(node)
        return node

    def workers(self) -> list[psutil.Process]:
        """The processes that run tasks of this program now."""
        return [process for node in [self.head, *self.nodes] for process in node.named("ray::run_shard")]

    def close(self) -> None:
        for node in [*self.nodes, self.head]:
            node.kill()

    def _node(self, *arguments: str, prefix: tuple[str, ...] = ()) -> Node:
        for _ in range(3):  # Ray gives a node 30 s, which a loaded machine exceeds
            log = self._folder / f"node-{len(list(self._folder.iterdir()))}.log"
            node = Node(log, *arguments, prefix=prefix)
            if node.has_started():
                return node
            node.kill()
        raise RuntimeError(f"the node did not start: {log.read_text()[-2000:]}")


def _environment() -> dict[str, str]:
    """Of a node; the path is for the work of tests (`tests.ray_work`)."""
    return os.environ | TOKEN | QUIET | {"PYTHONPATH": str(Path(__file__).parents[1])}


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("", 0))
        port: int = bound.getsockname()[1]
        return port


def own_address() -> str:
    """The address by which Ray calls this machine: that of the interface to the outside, if there is one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("8.8.8.8", 80))  # sends nothing
            address: str = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    return address


@contextmanager
def running_nodes(folder: Path, count: int, head_cpus: int = 0) -> Iterator[RayNodes]:
    """A cluster on this machine, with a head and `count` nodes of one CPU."""
    cluster = RayNodes(folder, own_address(), free_port(), head_cpus)
    try:
        for _ in range(count):
            cluster.add()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def _cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    pytest.importorskip("ray", reason="Ray is not installed (the extra `ray`)")
    with running_nodes(tmp_path_factory.mktemp("nodes"), 1, head_cpus=1) as cluster:
        yield cluster


@pytest.fixture
def ray_nodes(_cluster: RayNodes, monkeypatch: pytest.MonkeyPatch) -> RayNodes:
    """A cluster with two nodes of one CPU; its token is in this process's environment."""
    for name, value in (TOKEN | QUIET).items():
        monkeypatch.setenv(name, value)
    return _cluster
