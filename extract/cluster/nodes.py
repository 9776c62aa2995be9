"""The nodes of a cluster, asked for in the background: a lost head does not answer for long."""

import threading
import time
from dataclasses import dataclass

import ray

_INTERVAL_S = 3.0
_LARGEST_SHARE = 8
"""Cores of a task where no number is set: more do not make one picture at a time much faster."""


@dataclass(frozen=True)
class Needs:
    """What one task takes of a node."""

    cores: int
    gpus: int

    def __str__(self) -> str:
        cores = "1 CPU" if self.cores == 1 else f"{self.cores} CPUs"
        return f"a GPU and {cores}" if self.gpus else cores


@dataclass(frozen=True)
class Node:
    """One node that is up, and its resources in all."""

    id: str
    cpus: int
    gpus: int


class Nodes:
    """The nodes that are up, and the time since the head of the cluster has answered."""

    def __init__(self) -> None:
        self._gone: set[str] = set()
        self._nodes = self._ask()
        self._answered = time.monotonic()
        threading.Thread(target=self._watch, name="nodes", daemon=True).start()

    @property
    def silent_s(self) -> float:
        """Seconds since the head has answered."""
        return time.monotonic() - self._answered

    def __len__(self) -> int:
        return len(self._nodes)

    def has_ended(self, node: str) -> bool:
        """True for a node that was up; one that was added in the last seconds may not be known yet."""
        return node in self._gone

    def needs(self, device: str, cores: int | None) -> Needs:
        """What a task gets: a GPU and its share of the node's cores, or a share of the smallest node's cores.

        With the device `auto` a GPU if any node has one now.
        """
        cards = [node for node in self._nodes if node.gpus]
        if device != "cpu" and (cards or device != "auto"):
            return Needs(cores or min((max(1, node.cpus // node.gpus) for node in cards), default=1), 1)
        smallest = min((node.cpus for node in self._nodes if node.cpus), default=1)
        return Needs(cores or min(smallest, _LARGEST_SHARE), 0)

    def slots(self, needs: Needs) -> int:
        """Number of tasks that the nodes can run at a time; at least 1."""
        rooms = [
            min(node.cpus // needs.cores, node.gpus if needs.gpus else node.cpus) for node in self._nodes
        ]
        return max(1, sum(rooms))

    def _watch(self) -> None:
        while True:
            time.sleep(_INTERVAL_S)
            try:
                self._nodes = self._ask()
            except Exception:  # of any kind, as long as the head does not answer
                continue
            self._answered = time.monotonic()

    def _ask(self) -> list[Node]:
        nodes = ray.nodes()
        self._gone.update(node["NodeID"] for node in nodes if not node["Alive"])
        return [
            Node(node["NodeID"], int(node["Resources"].get("CPU", 0)), int(node["Resources"].get("GPU", 0)))
            for node in nodes
            if node["Alive"]
        ]
