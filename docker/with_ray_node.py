"""Join a Ray cluster with a node that takes no tasks, and run a command beside it.

A run reaches a Ray cluster by a node on its own machine. Both end together, so that a container whose node
was lost, for example with the cluster's head, is started again and joins the new cluster.

    with_ray_node.py ray-head:6379 prefect worker start --pool dsanet
"""

import signal
import subprocess
import sys
import threading

POLL_S = 0.5


def main() -> int:
    address, *command = sys.argv[1:]
    join = ["ray", "start", f"--address={address}", "--num-cpus=0", "--num-gpus=0", "--block"]
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    with subprocess.Popen(join) as node, subprocess.Popen(command) as program:
        while node.poll() is None and program.poll() is None:
            if stopped.wait(POLL_S):
                break
        node_lost = node.poll() is not None and program.poll() is None
        program.terminate()
        status = program.wait()
        node.terminate()
    if node_lost:
        sys.exit(f"the node of the Ray cluster at {address} has ended")
    return status


if __name__ == "__main__":
    sys.exit(main())
