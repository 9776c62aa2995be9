"""Runs Prefect's worker; told to stop, it first tells the worker's runs, waits for them, and then the worker.

A worker that is told to stop ends at once and kills its runs: the server would take them for running for
ever, and keep their place in the queue for five minutes. A run that is told to stop says so to the server.

    stop_in_order.py prefect worker start --pool dsanet
"""

import signal
import sys
from contextlib import suppress

import psutil


def main() -> int:
    worker = psutil.Popen(sys.argv[1:])

    def stop(*_: object) -> None:
        runs = worker.children() if worker.is_running() else []
        for run in runs:
            with suppress(psutil.NoSuchProcess):  # it is just ending by itself
                run.terminate()
        psutil.wait_procs(runs)
        with suppress(psutil.NoSuchProcess):
            worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    status: int = worker.wait()
    return status


if __name__ == "__main__":
    sys.exit(main())
