"""The stages' own lines in the log of the flow run, where a server and its UI show them."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.logging.handlers import APILogHandler


@contextmanager
def run_log() -> Iterator[None]:
    """Send what `flows` logs from INFO on to the flow run that is under way."""
    log, handler = logging.getLogger("flows"), APILogHandler(level=logging.INFO)
    level = log.level
    log.addHandler(handler)
    log.setLevel(min(log.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
