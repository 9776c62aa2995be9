"""Run Prefect's worker; on SIGTERM stop its runs first, and the worker when they have ended.

A worker that gets SIGTERM kills its runs at once. A run that gets SIGTERM itself reports its state Crashed to
the server, which otherwise keeps the run in state Running and its concurrency slot taken for five minutes.

    stop_in_order.py prefect worker start --pool dsanet
"""

import signal
import sys
from contextlib import suppress

import psutil

from flows.server.processes import terminate_children


def main() -> int:
    worker = psutil.Popen(sys.argv[1:])

    def stop(*_: object) -> None:
        terminate_children(worker)
        with suppress(psutil.NoSuchProcess):
            worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    status: int = worker.wait()
    return status


if __name__ == "__main__":
    sys.exit(main())
