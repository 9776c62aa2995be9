"""The messages between the processes, and the interfaces of the work that is done on the nodes."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Item:
    """A part of the work that is done as a whole, for example one video."""

    name: str
    size: int
    """Bytes."""
    value: Any


# --- from a task --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Started:
    """A task runs on a node and has loaded what it needs."""

    node: str
    host: str
    description: Any
    """Of what it has loaded; tasks with equal ones give equal results."""
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Taken:
    """The work on an item has begun."""

    name: str


@dataclass(frozen=True)
class Note:
    """An intermediate result, for the progress."""

    value: Any


@dataclass(frozen=True)
class Done:
    """The result of an item."""

    name: str
    value: Any


# --- from the driver process, besides `Note` and `Done` -----------------------------------------------------


@dataclass(frozen=True)
class Connected:
    """The cluster answers, and one of its nodes has loaded what it needs."""

    description: Any


@dataclass(frozen=True)
class Killed:
    """The work on this item has ended the process of its task several times."""

    name: str
    reason: str


@dataclass(frozen=True)
class Line:
    """A line for the log."""

    level: int
    text: str


class Alive:
    """A sign of life."""


@dataclass(frozen=True)
class Unreachable:
    """The cluster does not answer, or not any more."""

    reason: str


@dataclass(frozen=True)
class Stopped:
    """The driver process ends by an error. `by_input`: one that the user can mend."""

    reason: str
    by_input: bool


# --- the work -----------------------------------------------------------------------------------------------


class Loaded(Protocol):
    """The state that a process on a node keeps for all its tasks, for example a loaded encoder."""

    @property
    def description(self) -> Any: ...

    def run(self, items: Iterable[Item]) -> Iterator[Taken | Note | Done | None]:
        """Do the work; None at least twice a second while there is nothing to tell."""


class Work(Protocol):
    """What is done with the items. Sent to the driver process and to the nodes: a small, picklable object."""

    @property
    def files(self) -> Mapping[str, Path]:
        """Files of this machine that the nodes need, by the name that they get there."""

    def content(self, value: Any) -> Any:
        """What a node gets for an item's value; called on this machine just before it is sent."""

    def load(self, files: Mapping[str, Path], device: str, cores: int, like: Any) -> Loaded:
        """Called in a process of a node. `like` is the description of the first one; None for itself.

        Raises InputError, also if results would differ from those of `like`.
        """


LOCAL = "local"
"""Address of a Ray of this machine alone, which is started for the work."""


@dataclass(frozen=True)
class Setup:
    """The cluster and the work, sent to the driver process as its first message."""

    address: str | None
    device: str
    """`auto`: a GPU for each task if the cluster has any; `cpu`; `cuda`."""
    cores: int | None
    """Cores of a task; None: chosen by the nodes' sizes."""
    work: Work
    shard_bytes: int = 1_000_000_000
    """A shard's size at most, unless one item is larger; an hour of HD footage, minutes of work."""
