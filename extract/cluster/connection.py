"""The connection to a Ray cluster, seen from the process that owns the files."""

import importlib.util
import logging
import os
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Pipe
from typing import Any

from extract.child_process import end_process, exit_reason, start_module
from extract.cluster.messages import (
    LOCAL,
    Alive,
    Connected,
    Done,
    Item,
    Killed,
    Line,
    Note,
    Setup,
    Stopped,
    Unreachable,
)
from extract.errors import InputError

log = logging.getLogger(__name__)

PATIENCE_S = 300.0
"""Time for which a cluster that was lost is tried again."""
_TRY_INTERVAL_S = 5.0
_LINE_INTERVAL_S = 60.0
_CONNECT_S = 60.0
_SILENT_S = 180.0
"""Without a sign of life after this, a driver process hangs."""
_POLL_S = 0.5
_STOP_S = 5.0


def require_ray() -> None:
    """Raise InputError if Ray is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise InputError('runtime.runner is ray, but Ray is not installed; pip install "dsanet[ray]"')


class _DriverProcess:
    """One driver process and its connection."""

    def __init__(self, setup: Setup) -> None:
        self._connection, theirs = Pipe()
        self._output = tempfile.TemporaryFile()  # noqa: SIM115 - Ray prints much; read if the process fails
        with theirs:
            self._process = start_module(
                "extract.cluster.driver_process",
                theirs.fileno(),
                output=self._output.fileno(),
                environment=_environment(setup),
            )
        self._connected = False
        self.send(setup)

    def send(self, message: object) -> None:
        self._heard = time.monotonic()  # it waits for messages without a sign of life
        with suppress(OSError):  # it has ended, which `receive` will tell
            self._connection.send(message)

    def receive(self) -> Any:
        """The next message; None without one for half a second; `Unreachable` if the process has ended."""
        try:
            if self._connection.poll(_POLL_S):
                message = self._connection.recv()
                self._heard = time.monotonic()
                self._connected |= isinstance(message, Alive | Connected)
                return message
        except (EOFError, OSError):
            return Unreachable(self._last_line())
        limit_s = _SILENT_S if self._connected else _CONNECT_S
        if time.monotonic() > self._heard + limit_s:
            return Unreachable(f"no answer for {limit_s:.0f} s")
        return None

    def close(self) -> None:
        """End the process, and with it the tasks on the cluster."""
        self._process.terminate()
        end_process(self._process, _STOP_S)
        self._connection.close()
        self._output.close()

    def _last_line(self) -> str:
        """Why it has ended, by what it printed last."""
        reason = exit_reason(self._process.wait())
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - 5000))
        lines = self._output.read().decode(errors="replace").strip().splitlines()
        return f"the driver process ended, {reason}" + (f": {lines[-1].strip()[:300]}" if lines else "")


def _environment(setup: Setup) -> dict[str, str]:
    """Variables that Ray reads when it is loaded. A Ray of this machine alone gets a token of its own."""
    quiet = {"RAY_USAGE_STATS_ENABLED": os.environ.get("RAY_USAGE_STATS_ENABLED", "0")}
    if setup.address != LOCAL:
        return quiet
    return quiet | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}


class ClusterConnection:
    """A connection to a Ray cluster that outlives a loss of its head, as a context manager."""

    def __init__(self, setup: Setup, *, patience_s: float = PATIENCE_S) -> None:
        """Raises InputError if Ray is not installed."""
        require_ray()
        self._patience_s = patience_s
        address = setup.address or os.environ.get("RAY_ADDRESS") or "auto"
        if "@" in address or "://" in address:
            raise InputError("RAY_ADDRESS is no URL and holds no credentials; expected HOST:PORT or auto")
        self._address = address
        self._setup = replace(setup, address=address)
        self._driver: _DriverProcess | None = None
        self._left: dict[str, Item] = {}
        self._total = 0
        self._lost_at: float | None = None
        """When the cluster was lost; None again at the next result."""
        self._line_at = 0.0

    def __enter__(self) -> "ClusterConnection":
        return self

    def __exit__(self, *_: object) -> None:
        self._close_driver()

    def connect(self) -> Any:
        """The description of what the nodes have loaded.

        Raises InputError if no cluster answers, or for an error that the user can mend.
        """
        for message in self._messages():
            if isinstance(message, Connected):
                return message.description
        raise AssertionError("unreachable")

    def run(self, items: Sequence[Item]) -> Iterator[Note | Done | Killed | None]:
        """Do the work on the items, after `connect`; None while there is nothing to tell.

        `Done` or `Killed` comes once for each item. Raises InputError if the cluster is lost for long.
        """
        self._left = {item.name: item for item in items}
        self._total = len(items)
        self._send_items()
        for message in self._messages() if items else ():
            if isinstance(message, Connected):
                self._send_items()
            elif not isinstance(message, Done | Killed):
                yield message
            elif self._left.pop(message.name, None) is not None:
                self._lost_at = None
                yield message
                if not self._left:
                    return

    def _send_items(self) -> None:
        assert self._driver is not None, "`connect` comes first"
        self._driver.send(list(self._left.values()))

    def _messages(self) -> Iterator[Connected | Note | Done | Killed | None]:
        """The messages of the driver process, and of the one that replaces it when the cluster was lost."""
        while True:
            if self._driver is None:
                self._driver = _DriverProcess(self._setup)
            message = self._driver.receive()
            if isinstance(message, Line):
                log.log(message.level, "%s", message.text)
            elif isinstance(message, Stopped):
                raise InputError(message.reason) if message.by_input else RuntimeError(message.reason)
            elif isinstance(message, Unreachable):
                self._close_driver()
                yield from self._wait_for_cluster(message.reason)
            else:
                yield None if isinstance(message, Alive) else message

    def _wait_for_cluster(self, reason: str) -> Iterator[None]:
        """Wait before the next try. Raises InputError if there is none."""
        if not self._left:
            raise InputError(
                f"no Ray cluster answers at {self._address} ({reason}); start one (`ray start --head`), set "
                "runtime.ray_address, or runtime.runner to local"
            )
        now = time.monotonic()
        self._lost_at = self._lost_at or now
        done = self._total - len(self._left)
        if now > self._lost_at + self._patience_s:
            raise InputError(
                f"the Ray cluster at {self._address} was lost and did not come back within "
                f"{self._patience_s / 60:.0f} min ({reason}); {done} of {self._total} items are done; run "
                "the command again, it continues"
            )
        if now > self._line_at + _LINE_INTERVAL_S:
            self._line_at = now
            log.warning(
                "the Ray cluster at %s was lost (%s); %d items are left; trying to reach it again",
                self._address,
                reason,
                len(self._left),
            )
        while time.monotonic() < now + _TRY_INTERVAL_S:
            time.sleep(_POLL_S)
            yield None

    def _close_driver(self) -> None:
        driver, self._driver = self._driver, None
        if driver is not None:
            driver.close()
