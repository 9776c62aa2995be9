"""Defaults of the environment variables that Prefect, MLflow and the downloaders read, and logging.

Prefect and MLflow read the variables once, when they are imported: call these functions before. A variable
that is already set is left alone.
"""

import logging
import os
import warnings

DEFAULTS = {
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",  # lines of our own threads
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # a new database on a slow disk
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_UI_V2_ENABLED": "false",  # UI v2 asks Amplitude's server whether analytics are on
}


def set_environment_defaults() -> None:
    """No telemetry, no warnings about our threads, a longer timeout for Prefect's embedded server."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)


def configure_logging(*, debug: bool) -> None:
    """Send the logs of our packages to standard error; with `debug` also Prefect's and that of downloads."""
    os.environ.setdefault("PREFECT_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    os.environ.setdefault("PREFECT_INTERNAL_LOGGING_LEVEL", "DEBUG" if debug else "CRITICAL")
    os.environ.setdefault("HF_HUB_VERBOSITY", "debug" if debug else "error")  # of downloads by open_clip
    # False: Prefect's log handler prints no traceback for records that it cannot send to the server.
    logging.raiseExceptions = debug
    if not debug:  # where this matters, `flows.server.home.check_writable` refuses it in one line
        warnings.filterwarnings("ignore", message="Failed to create the Prefect home directory")
    for package in ("flows", "dsanet", "extract"):
        log = logging.getLogger(package)
        log.handlers = [logging.StreamHandler()]
        log.setLevel(logging.DEBUG if debug else logging.INFO)
        log.propagate = False  # Prefect installs another handler on the root logger
