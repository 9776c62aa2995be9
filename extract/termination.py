"""SIGTERM, the request to end, as an exception: what a run has finished is kept, and locks are released."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM raise SystemExit, so that the run is unwound; a handler of the program is kept.

    Only the main thread may set signal handlers; in another thread nothing is changed.
    """
    replace = threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    )
    if replace:
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        yield
    finally:
        if replace:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
