"""The process of Prefect's embedded server. It ends when the process that started it has ended, in any way.

Started by path, and without imports of this project: the folder of the command, which may have packages of
any name, is then not on the path.
"""

import os
import signal
import sys
import threading
import time

SECONDS_BETWEEN_CHECKS = 0.5
STOP_TIMEOUT_S = 5.0


def stop_after(owner: int) -> None:
    """Wait until the process `owner`, the parent, has ended; then stop this process."""
    while os.getppid() == owner:  # the kernel gives the child of an ended process another parent
        time.sleep(SECONDS_BETWEEN_CHECKS)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(STOP_TIMEOUT_S)
    os._exit(1)


def serve(owner: int, listener: int) -> None:
    """Serve Prefect's API on the socket with the file descriptor `listener` until `owner` has ended."""
    threading.Thread(target=stop_after, args=(owner,), daemon=True).start()
    import uvicorn  # after the thread: these imports take seconds

    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, fd=listener, log_level="error", lifespan="on")


if __name__ == "__main__":
    del sys.path[0]  # this file's folder
    serve(*map(int, sys.argv[1:]))
