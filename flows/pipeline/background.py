"""Values sent from a thread of their own: the latest one, whatever time the receiver takes."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import copy_context
from typing import Generic, TypeVar

Value = TypeVar("Value")


class LatestValue(Generic[Value]):
    """A place for one value: a newer one replaces one that has not been taken."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._values: list[Value] = []
        self._closed = False

    def put(self, value: Value) -> None:
        with self._changed:
            self._values = [value]
            self._changed.notify_all()

    def close(self) -> None:
        """No more values come; one that is there can still be taken."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def take(self) -> Value | None:
        """Wait for a value; None if none is there after `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._values or self._closed)
            return self._values.pop() if self._values else None

    def pause(self, seconds: float) -> None:
        """Wait, but not longer than until `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, seconds)


@contextmanager
def sent_in_background(
    send: Callable[[Value], bool], *, interval_s: float, last_timeout_s: float
) -> Iterator[Callable[[Value], None]]:
    """Yield a function that returns at once and has `send` called in a thread, every `interval_s` at most.

    A value that comes while `send` is busy replaces the one that waits. The last value is sent at the end,
    for which the end waits at most `last_timeout_s`. After `send` has returned False it is not called again;
    it must not raise. Context variables have the caller's values.
    """
    latest: LatestValue[Value] = LatestValue()

    def work() -> None:
        while (value := latest.take()) is not None and send(value):
            latest.pause(interval_s)

    context = copy_context()
    thread = threading.Thread(target=context.run, args=(work,), name="progress", daemon=True)
    thread.start()
    try:
        yield latest.put
    finally:
        latest.close()
        thread.join(last_timeout_s)
