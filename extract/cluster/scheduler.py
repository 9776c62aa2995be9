"""Shards as Ray tasks: submitted, followed, and submitted again where a worker or a node was lost.

A task is a streaming generator: what it has finished is here before it ends. Ray's own retry would repeat all
of a task, so it is off for shards (`max_retries=0`): only the items that are left are submitted again. It is
on for the first task, which only loads the encoder.
"""

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
import ray.exceptions as errors

from extract.cluster import node_tasks
from extract.cluster.messages import (
    Alive,
    Connected,
    Done,
    Item,
    Killed,
    Line,
    Note,
    Setup,
    Started,
    Stopped,
    Taken,
    Unreachable,
)
from extract.cluster.nodes import Needs, Nodes
from extract.cluster.shards import Shard, after_crash, after_node_loss, make_shards
from extract.cluster.versions import other_versions, require_this_version
from extract.errors import InputError

_WAIT_S = 0.5
_ALIVE_INTERVAL_S = 1.0
_GET_S = 60.0
"""For a result to come from its node."""
_HEAD_SILENT_S = 40.0
"""After this the head counts as lost; Ray itself ends every process of the cluster after 60 s."""
_STALL_S, _STALL_REPEAT_S = 30.0, 60.0
"""Time without any running task after which the log says so, and between two such lines."""
_BACKPRESSURE = 8
"""Results of a task that may wait to be fetched; the task then waits."""

NODE_LOST = (
    errors.NodeDiedError,
    errors.ObjectLostError,
    errors.GetTimeoutError,
    errors.TaskUnschedulableError,
    errors.TaskCancelledError,
)
"""No fault of the item: the node ended, or its results did not arrive."""
WORKER_LOST = (errors.WorkerCrashedError, errors.OutOfMemoryError)


class ConnectionLostError(Exception):
    """The head, or the node of this machine, does not answer any more."""


@dataclass(eq=False)
class _Running:
    """A shard that was submitted, and what is known of its task."""

    shard: Shard
    started: Started | None = None
    taken: set[str] = field(default_factory=set)
    done: set[str] = field(default_factory=set)


class Scheduler:
    """The work of one connection to a cluster; `send` passes messages to the process that owns the files."""

    def __init__(self, setup: Setup, send: Callable[[object], None]) -> None:
        self._setup, self._send = setup, send
        self._nodes = Nodes()
        self._needs = self._nodes.needs(setup.device, setup.cores)
        # numpy arrays are read in place, in the memory that the processes of a node share.
        self._files = {name: ray.put(np.fromfile(path, np.uint8)) for name, path in setup.work.files.items()}
        self._key = uuid.uuid4().bytes
        self._first: Any = None
        self._pending: deque[Shard] = deque()
        self._running: dict[Any, _Running] = {}
        self._known_hosts: set[str] = set()
        self._active = time.monotonic()
        """When a task ran last."""
        self._stall_line_at = self._alive_at = 0.0

    def connect(self) -> None:
        """Let one node load what the work needs, and report its description."""
        task = ray.remote(max_retries=3, **_resources(self._needs))(node_tasks.load)
        reference = task.remote(self._setup.work, self._key, self._files, self._needs.cores, None)
        while not ray.wait([reference], timeout=_WAIT_S)[0]:
            self._check()
        try:
            started: Started = ray.get(reference, timeout=_GET_S)
        except errors.RayError as error:
            raise _final(error) or ConnectionLostError(_reason(error)) from error
        self._greet(started)
        self._first = started.description
        self._send(Connected(started.description))

    def run(self, items: Sequence[Item]) -> None:
        """Do the work on all items. Raises InputError, ConnectionLostError."""
        slots = self._nodes.slots(self._needs)
        self._pending.extend(make_shards(items, slots, self._needs.cores, self._setup.shard_bytes))
        while self._pending or self._running:
            self._submit()
            self._receive()
            self._check()

    # --- tasks ----------------------------------------------------------------------------------------------

    def _submit(self) -> None:
        """Submit shards, more than the nodes can take at a time: a node that is added later finds some."""
        at_most = 2 * self._nodes.slots(self._needs) + 2
        while self._pending and len(self._running) < at_most:
            shard = self._pending.popleft()
            task = ray.remote(
                num_returns="streaming",
                max_retries=0,
                max_calls=0,  # a process serves several tasks, also those with a GPU
                _generator_backpressure_num_objects=_BACKPRESSURE,
                **_resources(self._needs),
            )(node_tasks.run_shard)
            content = self._setup.work.content
            items = [Item(item.name, item.size, content(item.value)) for item in shard.items]
            generator = task.remote(
                self._setup.work, self._key, self._files, self._needs.cores, self._first, items
            )
            self._running[generator] = _Running(shard)

    def _receive(self) -> None:
        generators = list(self._running)
        ready, _ = ray.wait(generators, num_returns=1, timeout=_WAIT_S, fetch_local=False)
        if ready:
            ready, _ = ray.wait(generators, num_returns=len(generators), timeout=0, fetch_local=False)
        for generator in ready:
            running = self._running[generator]
            try:
                messages = ray.get(next(generator), timeout=_GET_S)
            except StopIteration:
                del self._running[generator]
                self._again(self._left_over(running))
            except errors.RayError as error:
                del self._running[generator]
                self._again(self._after_error(running, error))
            else:
                self._active = time.monotonic()
                for message in messages:
                    self._handle(running, message)

    def _handle(self, running: _Running, message: Started | Taken | Note | Done) -> None:
        if isinstance(message, Started):
            running.started = message
            self._greet(message)
        elif isinstance(message, Taken):
            running.taken.add(message.name)
        else:
            if isinstance(message, Done):
                running.done.add(message.name)
            self._send(message)

    def _left_over(self, running: _Running) -> list[Shard]:
        left = after_node_loss(running.shard, running.done)
        assert not left, f"a task ended without a result for {left[0].items[0].name}"
        return left

    def _after_error(self, running: _Running, error: errors.RayError) -> list[Shard]:
        """What is tried again after a task has failed."""
        if (final := _final(error)) is not None:
            raise final
        if not isinstance(error, NODE_LOST + WORKER_LOST + (errors.RayTaskError,)):
            raise ConnectionLostError(_reason(error)) from error  # of the head, or of this machine's node
        started = running.started
        if isinstance(error, NODE_LOST) or (started is not None and self._nodes.has_ended(started.node)):
            again = after_node_loss(running.shard, running.done)
            self._say_lost(running, f"node lost: {_reason(error)}", again)
            return again
        again = after_crash(running.shard, running.done, running.taken)
        self._say_lost(running, _reason(error), again)
        if again and again[0].given_up:
            host = f", the last time on node {started.host}" if started else ""
            reason = (
                f"it ended its process on the Ray cluster {again[0].crashes} times{host}: {_reason(error)}"
            )
            self._send(Killed(again.pop(0).items[0].name, reason))
        return again

    def _again(self, shards: Iterable[Shard]) -> None:
        self._pending.extendleft(reversed(list(shards)))

    def _say_lost(self, running: _Running, reason: str, again: list[Shard]) -> None:
        where = f" on node {running.started.host}" if running.started else ""
        count = sum(len(shard.items) for shard in again)
        self._send(Line(logging.WARNING, f"a task{where} ended ({reason}); {count} of its items are left"))

    # --- the cluster ----------------------------------------------------------------------------------------

    def _greet(self, started: Started) -> None:
        """Compare versions at the first task of a node."""
        require_this_version(started.host, started.versions)
        if started.host not in self._known_hosts and (others := other_versions(started.versions)):
            text = f"node {started.host} has {others}: last digits may differ"
            self._send(Line(logging.WARNING, text))
        self._known_hosts.add(started.host)

    def _check(self) -> None:
        """Give a sign of life; raise ConnectionLostError if the head is silent; say so if no task runs."""
        if time.monotonic() > self._alive_at + _ALIVE_INTERVAL_S:
            self._alive_at = time.monotonic()
            self._send(Alive())
        if self._nodes.silent_s > _HEAD_SILENT_S:
            raise ConnectionLostError(f"its head has not answered for {_HEAD_SILENT_S:.0f} s")
        if any(running.started for running in self._running.values()):
            self._active = time.monotonic()
        now = time.monotonic()
        if now > max(self._active + _STALL_S, self._stall_line_at + _STALL_REPEAT_S):
            self._stall_line_at = now
            nodes = "1 node is up" if len(self._nodes) == 1 else f"{len(self._nodes)} nodes are up"
            text = f"waiting for a node of the Ray cluster with {self._needs} free; {nodes}"
            self._send(Line(logging.WARNING, text))


def _resources(needs: Needs) -> dict[str, int]:
    return {"num_cpus": needs.cores, "num_gpus": needs.gpus}


def _final(error: errors.RayError) -> Exception | None:
    """The error that ends the work; None for one after which the rest is tried again."""
    cause = error.cause if isinstance(error, errors.RayTaskError) else None
    if isinstance(cause, InputError):
        return InputError(str(cause))
    if isinstance(cause, OSError | MemoryError) or isinstance(error, NODE_LOST + WORKER_LOST):
        return None
    text = str(error)
    if isinstance(cause, ImportError) or "ModuleNotFoundError" in text or "failed to import" in text:
        line = next((one for one in text.splitlines() if "No module named" in one), _reason(error)).strip()
        return InputError(
            f"a node of the Ray cluster can't run this program ({line}); install the same dsanet on all nodes"
        )
    return RuntimeError(f"a task on the Ray cluster failed: {text}") if cause is not None else None


def _reason(error: BaseException) -> str:
    """One line about an error of Ray."""
    if isinstance(error, errors.OutOfMemoryError):
        return "the node's memory was full"
    if isinstance(error, errors.WorkerCrashedError):
        return "its process was killed or crashed"
    if isinstance(error, errors.NodeDiedError):
        return "the node ended"
    if "WrongClusterID" in str(error):
        return "its head was started again"
    cause = error.cause if isinstance(error, errors.RayTaskError) else error
    first = (str(cause).strip().splitlines() or [""])[0]
    return f"{type(cause).__name__}: {first[:200]}"


def message_of(error: BaseException) -> Unreachable | Stopped:
    """What the owner of the files is told about the error that ended the work."""
    if isinstance(error, ConnectionLostError):
        return Unreachable(str(error))
    if isinstance(error, errors.RayError):  # also the answer of a head that was started again
        return Unreachable(_reason(error))
    if isinstance(error, InputError):
        return Stopped(str(error), by_input=True)
    return Stopped(f"{type(error).__name__}: {error}", by_input=False)
