"""Starting a deployed run from the command line, with one line for each thing that may be missing."""

import logging
import os
import time
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.urls import url_for
from rich.console import Console

from flows.server import services

DEPLOYMENT = "default"
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_FOR_LAST_LINES = 3.0
"""Prefect sends a run's lines every two seconds, the last ones after its end."""


def trigger(flow: str, parameters: dict[str, Any], *, watch: bool, console: Console) -> bool:
    """Start a run of the deployment `<flow>/default`; with `watch`, follow it to its end.

    Returns False if it was watched and did not complete. Raises ValueError, in one line, where the server,
    the deployment or a worker is missing, and for parameters that the deployment refuses.
    """
    with temporary_settings({PREFECT_API_URL: _api_url()}), get_client(sync_client=True) as client:
        deployment = _deployment(client, flow)
        _require_worker(client, deployment)
        run = _created(client, deployment, parameters)
        # PREFECT_UI_URL, where the server has another address for browsers than for its clients
        console.print(f"run {url_for(run)}", soft_wrap=True, highlight=False)
        return _followed(client, run, console) if watch else True


def _api_url() -> str:
    """The server of the environment or of Prefect's profile, else the one that `dsanet up` started."""
    configured = PREFECT_API_URL.value() or os.environ.get("PREFECT_API_URL")
    started = services.recall()
    if configured:
        return str(configured)
    if started is None:
        raise ValueError("no Prefect server is known; start one with `dsanet up`, or set PREFECT_API_URL")
    return started.api


def _deployment(client: SyncPrefectClient, flow: str) -> DeploymentResponse:
    name = f"{flow}/{DEPLOYMENT}"
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise ValueError(
            f"the server at {client.api_url} has no deployment {name}; make the deployments with "
            "`dsanet up` or `prefect deploy --all`"
        ) from None
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError):
        raise ValueError(
            f"no Prefect server answers at {client.api_url}; start one with `dsanet up` or "
            "`prefect server start`"
        ) from None


def _require_worker(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """A run that nobody picks up would wait for ever."""
    pool = deployment.work_pool_name
    if pool is None:
        if deployment.status != "READY":
            raise ValueError(
                "the process that serves the deployments is gone; start it again with "
                "`python -m flows.server.serve`"
            )
        return
    workers = client.read_workers_for_work_pool(pool)
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        raise ValueError(
            f"no worker polls the work pool {pool}, so nothing would run; start one with `dsanet up` or "
            f"`prefect worker start --pool {pool}`"
        )


def _created(
    client: SyncPrefectClient, deployment: DeploymentResponse, parameters: dict[str, Any]
) -> FlowRun:
    try:
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in (409, 422):
            raise
        raise ValueError(f"parameters refused: {error.response.json().get('detail')}") from None


def _followed(client: SyncPrefectClient, run: FlowRun, console: Console) -> bool:
    """Print the stages' lines and each change of state until the run ends; whether it completed."""
    said: str | None = None
    lines = 0
    while True:
        try:
            state = client.read_flow_run(run.id).state
            if state is not None and state.is_final():
                time.sleep(SECONDS_FOR_LAST_LINES)
            lines += _print_log(client, run, lines, console)
        except httpx.HTTPError:
            raise ValueError(
                f"the server at {client.api_url} is gone; the run may still be going on"
            ) from None
        assert state is not None
        if state.name != said:
            said = state.name
            console.print(_told(state), soft_wrap=True, highlight=False, markup=False)
        if state.is_final():
            return state.is_completed()
        time.sleep(SECONDS_BETWEEN_LOOKS)


def _print_log(client: SyncPrefectClient, run: FlowRun, after: int, console: Console) -> int:
    """The run's lines from number `after` on, the project's own and errors; returns how many there were."""
    entries = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), offset=after)
    for entry in entries:
        if entry.name.startswith("flows") or entry.level >= logging.ERROR:
            first = entry.message.strip().splitlines()[0]
            line = f"{entry.timestamp.astimezone():%H:%M:%S}  {first}"
            console.print(line, soft_wrap=True, highlight=False, markup=False)
    return len(entries)


def _told(state: State) -> str:
    message = f": {state.message.splitlines()[0]}" if state.message else ""
    return f"{state.timestamp.astimezone():%H:%M:%S}  {state.name}{message}"
