"""Processes that read feature files ahead of a training, so that the training's own process need not.

Reading holds Python's lock half of the time: in threads it would hold up a GPU. The processes are not
`multiprocessing` children, which would import the caller's main module and with it torch; each is a new
interpreter without torch (55 MB), in a session of its own, so that Ctrl-C reaches the training only. It ends
when its connection is closed, as at the end of the training's process by any cause.
"""

import queue
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

from extract.child_process import exit_reason, start_module
from extract.errors import InputError

P = ParamSpec("P")
Result = TypeVar("Result")

_ATTEMPTS = 3
"""Processes that are tried for one call: one that is killed is replaced."""


class ReaderProcesses:
    """Up to `count` processes that call functions, each for one thread at a time; a context manager.

    A process is started when all others are busy.
    """

    def __init__(self, count: int) -> None:
        self._idle: queue.LifoQueue[_Process | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count

    def __enter__(self) -> "ReaderProcesses":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _ in range(self._count):
            if (process := self._idle.get()) is not None:
                process.close()

    def call(self, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
        """`function(*args, **kwargs)` in a process; paths must be absolute. Raises what the function raises.

        Raises InputError if the processes are killed, for example for lack of memory.
        """
        process = self._idle.get()
        try:
            for _ in range(_ATTEMPTS):
                try:
                    process = process or _Process()
                except OSError:  # the system allows no more processes
                    return function(*args, **kwargs)
                try:
                    return process.call(function, args, kwargs)
                except ConnectionError as error:
                    process.close()
                    process, reason = None, str(error)
        finally:
            self._idle.put(process)
        raise InputError(f"a process that reads feature files ended {_ATTEMPTS} times: {reason}")


class _Process:
    """One process and its connection."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = start_module(__name__, theirs.fileno())
        self._connection = Connection(ours.detach())

    def call(self, function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Raises ConnectionError with the reason if the process ended, else what the function raises."""
        try:
            self._connection.send((function, args, kwargs))
            result = self._connection.recv()
        except (EOFError, OSError):
            raise ConnectionError(self._exit_reason()) from None
        if isinstance(result, Exception):
            raise result
        return result

    def close(self) -> None:
        self._connection.close()
        self._process.kill()
        self._process.wait()

    def _exit_reason(self) -> str:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)  # the connection closes shortly before the process ends
        code = self._process.returncode
        return "its connection was closed" if code is None else exit_reason(code)


def main() -> None:
    """Serve the connection whose file descriptor is the first argument, until it is closed."""
    with Connection(int(sys.argv[1])) as connection, suppress(EOFError, ConnectionError):
        while True:
            function, args, kwargs = connection.recv()
            connection.send(_outcome(function, args, kwargs))


def _outcome(function: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The result of a call, or its error; any but those that our code raises knowingly, as text."""
    try:
        return function(*args, **kwargs)
    except (InputError, OSError) as error:
        return error
    except Exception:
        return RuntimeError(traceback.format_exc())


if __name__ == "__main__":
    main()
