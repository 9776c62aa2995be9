"""Work for the nodes of a Ray cluster that tests can steer: each item says what happens to its process."""

import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extract.cluster.messages import Done, Item, Note, Taken
from extract.errors import InputError


@dataclass(frozen=True)
class Step:
    """What is done for an item."""

    journal: Path
    """A file of this machine that gets a line when the work on an item begins and when it has ended."""
    seconds: float = 0.0
    then: str = ""
    """`kill`: SIGKILL to the own process; `refuse`: InputError; `fail`: ValueError."""


@dataclass(frozen=True)
class Steps:
    """Work as `extract.cluster.messages.Work`, whose items have a `Step`."""

    files: Mapping[str, Path]

    def content(self, value: Step) -> Step:
        return value

    def load(self, files: Mapping[str, Path], device: str, cores: int, like: Any) -> "LoadedSteps":
        return LoadedSteps((device, cores, {name: path.read_text() for name, path in files.items()}))


@dataclass(frozen=True)
class LoadedSteps:
    description: Any

    def run(self, items: Iterable[Item]) -> Iterator[Taken | Note | Done | None]:
        for item in items:
            step: Step = item.value
            yield Taken(item.name)
            write_line(step.journal, f"begin {item.name}")
            until = time.monotonic() + step.seconds
            while time.monotonic() < until:
                time.sleep(0.05)
                yield None
            if step.then == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif step.then == "refuse":
                raise InputError("the item is refused")
            elif step.then == "fail":
                raise ValueError("a mistake in the program")
            write_line(step.journal, f"end {item.name}")
            yield Done(item.name, (item.name, os.getpid()))


def write_line(journal: Path, text: str) -> None:
    """Append a line in one write, so that lines of several processes do not mix."""
    with journal.open("a") as file:
        file.write(text + "\n")
