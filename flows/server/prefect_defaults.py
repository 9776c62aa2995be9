"""Settings of a run inside this process; applied before Prefect is imported, which reads them once.

Nothing phones home, a slow disk gets time to make the embedded database, and only the stages' own lines
reach the screen. A value that the user has set wins.
"""

import logging
import os

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # it asks Amplitude's server whether analytics are on or off
}


def apply(*, debug: bool) -> None:
    """Set the environment's defaults and send the log of `flows` to the terminal's error stream."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    os.environ.setdefault("HF_HUB_VERBOSITY", "debug" if debug else "error")  # open_clip downloads by it
    logging.raiseExceptions = debug  # Prefect, too, keeps by it to itself that it could not deliver a line
    log = logging.getLogger("flows")
    log.handlers = [logging.StreamHandler()]
    log.setLevel(logging.DEBUG if debug else logging.INFO)
    log.propagate = False  # Prefect puts a handler of its own on the root logger
