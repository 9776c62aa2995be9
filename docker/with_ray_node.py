"""Run a command beside a node of a Ray cluster that takes no tasks.

A run reaches a Ray cluster by a node on its own machine. A node that was lost, for example with the cluster's
head, is started again until it joins: a run waits for the cluster some minutes.

    with_ray_node.py ray-head:6379 prefect worker start --pool dsanet
"""

import signal
import subprocess
import sys
import threading
import time

POLL_S = 0.5
PAUSE_S = 5.0
"""Before a node that has ended is started again."""


def main() -> int:
    address, *command = sys.argv[1:]
    join = ["ray", "start", f"--address={address}", "--num-cpus=0", "--num-gpus=0", "--block"]
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    node, ended_at = subprocess.Popen(join), None
    with subprocess.Popen(command) as program:
        while program.poll() is None and not stopped.wait(POLL_S):
            if node.poll() is None:
                continue
            if ended_at is None:
                ended_at = time.monotonic()
                print(f"no node of the Ray cluster at {address}; trying again", file=sys.stderr, flush=True)
            elif time.monotonic() > ended_at + PAUSE_S:
                node, ended_at = subprocess.Popen(join), None
        program.terminate()
        status = program.wait()
    node.terminate()
    node.wait()
    return status


if __name__ == "__main__":
    sys.exit(main())
