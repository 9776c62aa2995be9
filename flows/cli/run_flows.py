"""Run a flow in this process: with Prefect's embedded server, or with the server of PREFECT_API_URL."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from extract.errors import InputError
from flows.server.home import use_private_home
from flows.workspace.config import StageName
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace

if TYPE_CHECKING:
    from flows.retraining.retraining_page import Outcome

log = logging.getLogger(__name__)

FINAL_STATE_RETRIES = 3
"""Retries when reporting the final state to a server that does not answer (about 30 s)."""


def run_pipeline(out: Path, refresh: StageName | None = None, *, retry: bool = False) -> None:
    """Run the flow `extract-train-eval`. Raises ValueError for a manifest that cannot serve all stages."""
    use_private_home()
    from flows.pipeline.checks import check_run
    from flows.pipeline.prefect_flows import extract_train_eval

    check_run(Run.load(out))
    with _prefect_server():
        extract_train_eval(Workspace(out).place, refresh=refresh, retry=retry)


def run_stage(name: StageName, out: Path, refresh: bool, **parameters: object) -> None:
    """Run the flow of one stage; `parameters` are those that only this flow has."""
    use_private_home()
    from flows.pipeline import prefect_flows
    from flows.pipeline.stages.evaluate import ground_truth
    from flows.pipeline.stages.train import check_detector

    run = Run.load(out)
    _ = run.records  # what is invalid raises here, before Prefect starts
    if name == "extract":
        run.check_sources()
    elif name == "train":
        check_detector(run)
    elif name == "evaluate":
        ground_truth(run, [record for record in run.records if record.split == "test"])
    with _prefect_server():
        getattr(prefect_flows, name)(Workspace(out).place, refresh=refresh, **parameters)


def run_retraining(out: Path, force: bool, new_registry: bool = False, retry: bool = False) -> "Outcome":
    """Run the flow `retrain-on-new-footage`. Raises FileNotFoundError for a missing inbox."""
    use_private_home()
    from flows.library.inbox import check_inboxes
    from flows.retraining.flow import retrain_on_new_footage

    check_inboxes(Run.load(out).config.retrain.inboxes)
    with _prefect_server():
        return retrain_on_new_footage(
            Workspace(out).place, force=force, new_registry=new_registry, retry=retry
        )


@contextmanager
def _prefect_server() -> Iterator[None]:
    """Make sure that a server answers, and report its loss in one line. Raises ValueError in both cases."""
    import httpx
    from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

    from flows.server.connection import server_answers
    from flows.server.embedded import OwnedServer

    api = PREFECT_API_URL.value()
    if api is None:
        log.info("starting Prefect's embedded server (some seconds)")
        OwnedServer().start()
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
