"""Run a flow in this process: with Prefect's embedded server, or with the server of PREFECT_API_URL."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from extract.errors import InputError
from flows.workspace.config import StageName
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from flows.retraining.retraining_page import Outcome

log = logging.getLogger(__name__)

FINAL_STATE_RETRIES = 3
"""Retries when reporting the final state to a server that does not answer (about 30 s)."""


def run_pipeline(out: Path, refresh: StageName | None = None) -> None:
    """Run the flow `extract-train-eval`. Raises ValueError for a manifest that cannot serve all stages."""
    from flows.pipeline.prefect_flows import extract_train_eval

    Run.load(out).check()
    with _prefect_server():
        extract_train_eval(Workspace(out).root, refresh=refresh)


def run_stage(name: StageName, out: Path, refresh: bool, **parameters: object) -> None:
    """Run the flow of one stage; `parameters` are those that only this flow has."""
    from flows.pipeline import prefect_flows

    _ = Run.load(out).records  # an invalid manifest raises here, before Prefect starts
    with _prefect_server():
        getattr(prefect_flows, name)(Workspace(out).root, refresh=refresh, **parameters)


def run_retraining(out: Path, force: bool) -> "Outcome":
    """Run the flow `retrain-on-new-footage`."""
    from flows.retraining.flow import retrain_on_new_footage

    with _prefect_server():
        return retrain_on_new_footage(Workspace(out).root, force=force)


@contextmanager
def _prefect_server() -> Iterator[None]:
    """Make sure that a server answers, and report its loss in one line. Raises ValueError in both cases."""
    import httpx
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from flows.server.connection import server_answers

    api = PREFECT_API_URL.value()
    if api is None:
        _start_embedded_server()
    elif not server_answers(api):
        raise InputError(
            f"no Prefect server answers at {api}; start one with `dsanet up`, or unset PREFECT_API_URL to "
            "run with an embedded server"
        )
    try:
        with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: FINAL_STATE_RETRIES}):
            yield
    except httpx.TransportError:
        if api is None or server_answers(api):
            raise  # from another connection, for example a download
        raise InputError(
            f"Prefect's server at {api} stopped answering before the run could report its final state; "
            "finished work is kept, the same command resumes from there"
        ) from None


def _start_embedded_server() -> None:
    """Start Prefect's embedded server with SIGINT blocked, so that Ctrl-C stops the flow alone.

    A terminal sends SIGINT to the whole process group. If the server ended too, Prefect would retry for a
    minute to report the flow's final state. The server process inherits the signal mask.
    """
    from prefect.client.orchestration import get_client

    log.info("starting Prefect's embedded server (some seconds)")
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        with get_client(sync_client=True):
            pass
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
