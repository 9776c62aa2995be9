"""The driver process: connects to a Ray cluster and follows the work there.

`extract.cluster.connection` starts and watches it; `extract.cluster.messages` has the messages.
"""

import os
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import joblib
import ray
import ray.exceptions
from ray._private import ray_constants

from extract.cluster.messages import LOCAL, Setup
from extract.cluster.scheduler import ConnectionLostError, Scheduler, message_of
from extract.decode.worker import exit_with_parent
from extract.errors import InputError

_ANSWER_S = 5.0
_TRIES = 5
"""To connect, one a second; Ray makes 20, also with a token that is refused."""
_LOCAL_STORE_BYTES = 1_000_000_000
_QUIET = {"log_to_driver": False, "logging_level": "ERROR"}


def main() -> None:
    """Serve the connection whose file descriptor is the first argument."""
    threading.Thread(target=exit_with_parent, args=(os.getppid(),), daemon=True).start()
    with Connection(int(sys.argv[1])) as connection:
        setup: Setup = connection.recv()
        try:
            with connected(setup.address or "auto"):
                signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # in the place of Ray's
                scheduler = Scheduler(setup, connection.send)
                scheduler.connect()
                scheduler.run(connection.recv())
        except (EOFError, BrokenPipeError):  # nothing is left to do
            pass
        except Exception as error:
            connection.send(message_of(error))
            if isinstance(error, InputError | ConnectionLostError):
                return
            raise


@contextmanager
def connected(address: str) -> Iterator[None]:
    """Use a cluster; at the end, Ray ends the tasks that were submitted. Raises as `connect`."""
    folder = connect(address)
    try:
        yield
    finally:
        ray.shutdown()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def connect(address: str) -> str | None:
    """Connect to the cluster, or start one on this machine for the address `local`.

    Returns the folder of its files, if one was made. Raises InputError for a cluster that does not fit,
    ConnectionLostError if none answers.
    """
    if address == LOCAL:
        return _start_local()
    _require_answer(address)
    ray_constants.NUM_REDIS_GET_RETRIES = _TRIES
    try:
        ray.init(address=address, **_QUIET)
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise _refusal(address, error) from error
    return None


def _start_local() -> str | None:
    """A cluster of this machine alone, that only this process can use and that ends with it."""
    folder = _short_folder()
    # Ray then listens on 127.0.0.1 alone, as it always does on macOS and Windows.
    ray_constants.ENABLE_RAY_CLUSTER = False
    ray.init(
        address=LOCAL,
        num_cpus=joblib.cpu_count(),
        include_dashboard=False,
        object_store_memory=_LOCAL_STORE_BYTES,
        _temp_dir=folder,
        **_QUIET,
    )
    return folder


def _short_folder() -> str | None:
    """A folder for Ray's files; None, Ray's default, where the paths of its sockets would be too long."""
    folder = tempfile.mkdtemp(prefix="ray-")
    if len(folder) <= 30:
        return folder
    Path(folder).rmdir()
    return None


def _require_answer(address: str) -> None:
    """Raise ConnectionLostError if nothing listens at HOST:PORT: Ray itself waits long."""
    host, separator, port = address.rpartition(":")
    if not separator or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWER_S).close()
    except (OSError, OverflowError) as error:
        raise ConnectionLostError(getattr(error, "strerror", None) or str(error)) from error


def _refusal(address: str, error: Exception) -> Exception:
    """Why there is no connection, from an error of Ray and its causes."""
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
        causes.append(cause)
    if any("AuthenticationError" in f"{type(cause).__name__} {cause}" for cause in causes):
        return InputError(
            f"the Ray cluster at {address} refuses this machine: its token is missing or another one; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, as on its nodes"
        )
    if "ersion mismatch" in str(error):
        return InputError(f"the Ray cluster at {address} does not fit: {' '.join(str(error).split())[:300]}")
    return ConnectionLostError((str(error).strip().splitlines() or [type(error).__name__])[0])


if __name__ == "__main__":
    # `main` of the imported module: pickled classes must not belong to `__main__`.
    from extract.cluster.driver_process import main as _main

    _main()
