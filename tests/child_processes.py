"""Child processes of the test process that run one of our modules; others, servers, belong to fixtures."""

import psutil


def children_running(module: str) -> list[psutil.Process]:
    """The children that run `python -m module`."""
    return [process for process in psutil.Process().children() if module in process.cmdline()]
