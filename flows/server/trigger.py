"""`dsanet trigger`: start a run of a deployment, and optionally follow it to its end."""

import logging
import os
import time
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State, WorkerStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.utilities.urls import url_for

from extract.errors import InputError
from flows.server import services
from flows.server.service_record import WORKER
from flows.server.services import Echo

Check = Callable[[dict[str, Any], Path], None]
"""(parameters, default workspace); raises ValueError for parameters with which a run would fail."""

DEPLOYMENT = "default"
POLL_INTERVAL_S = 1.0
LAST_LOG_DELAY_S = 3.0
"""Wait before the last read of an ended run's log: Prefect sends log records every two seconds."""


def trigger(
    flow: str,
    parameters: dict[str, Any],
    *,
    watch: bool,
    echo: Echo,
    check: Check = lambda parameters, workspace: None,
) -> bool:
    """Start a run of the deployment `<flow>/default`; with `watch`, print its log and states until it ends.

    `check` is called before the run is made if the worker is that of `dsanet up` on this machine, with the
    default workspace of its runs. Returns False if the run was watched and did not complete. Raises
    ValueError, in one line, if the server, the deployment or a worker is missing, or if the parameters are
    refused.
    """
    with temporary_settings({PREFECT_API_URL: _api_url()}), get_client(sync_client=True) as client:
        deployment = _read_deployment(client, flow)
        _check_names(flow, deployment, parameters)
        if default_workspace := _local_workspace(str(client.api_url)):
            check(parameters, default_workspace)
        _check_worker(client, deployment)
        run = _create_run(client, deployment, parameters)
        echo(f"run {url_for(run)}")  # by PREFECT_UI_URL if browsers need another address than clients
        return _watch(client, run, echo) if watch else True


def _api_url() -> str:
    """URL of the API: from the environment or Prefect's profile, else the server of `dsanet up`."""
    configured = PREFECT_API_URL.value() or os.environ.get("PREFECT_API_URL")
    if configured:
        return str(configured)
    started = services.read_services()
    if started is None:
        raise InputError("no Prefect server is known; start one with `dsanet up`, or set PREFECT_API_URL")
    return started.api


def _read_deployment(client: SyncPrefectClient, flow: str) -> DeploymentResponse:
    name = f"{flow}/{DEPLOYMENT}"
    try:
        return client.read_deployment_by_name(name)
    except ObjectNotFound:
        raise InputError(
            f"the server at {client.api_url} has no deployment {name}; create the deployments with "
            "`dsanet up` or `prefect deploy --all`"
        ) from None
    except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError):
        raise InputError(
            f"no Prefect server answers at {client.api_url}; start one with `dsanet up` or "
            "`prefect server start`"
        ) from None


def _check_names(flow: str, deployment: DeploymentResponse, parameters: dict[str, Any]) -> None:
    """Raises ValueError for a parameter that the flow does not have; the server would accept it."""
    known = list((deployment.parameter_openapi_schema or {}).get("properties", {}))
    for name in parameters:
        if name not in known:
            similar = get_close_matches(name, known, n=1)
            hint = f"did you mean {similar[0]}? " if similar else ""
            raise InputError(f"{flow} has no parameter {name}; {hint}it has {', '.join(known)}")


def _local_workspace(api: str) -> Path | None:
    """The default workspace of runs if the server `api` is that of `dsanet up` on this machine."""
    started = services.read_services()
    local = started is not None and started.is_running(WORKER) and started.api == api.rstrip("/")
    return started.workspace if started is not None and local else None


def _check_worker(client: SyncPrefectClient, deployment: DeploymentResponse) -> None:
    """Raises ValueError if no process would pick up a run of the deployment."""
    pool = deployment.work_pool_name
    if pool is None:
        if deployment.status != "READY":
            raise InputError(
                "the process that serves the deployments has ended; start it again with "
                "`python -m flows.server.serve`"
            )
        return
    workers = client.read_workers_for_work_pool(pool)
    if not any(worker.status == WorkerStatus.ONLINE for worker in workers):
        raise InputError(
            f"no worker is online in the work pool {pool}, so the run would not start; start one with "
            f"`dsanet up` or `prefect worker start --pool {pool}`"
        )


def _create_run(
    client: SyncPrefectClient, deployment: DeploymentResponse, parameters: dict[str, Any]
) -> FlowRun:
    try:
        return client.create_flow_run_from_deployment(deployment.id, parameters=parameters)
    except PrefectHTTPStatusError as error:
        if error.response.status_code not in (409, 422):
            raise
        raise InputError(f"parameters refused: {error.response.json().get('detail')}") from None


def _watch(client: SyncPrefectClient, run: FlowRun, echo: Echo) -> bool:
    """Print new log lines and each change of state until the run ends; returns True if it completed."""
    printed_state: str | None = None
    printed_records = 0
    while True:
        try:
            state = client.read_flow_run(run.id).state
            if state is not None and state.is_final():
                time.sleep(LAST_LOG_DELAY_S)
            printed_records += _print_log(client, run, printed_records, echo)
        except httpx.HTTPError:
            raise InputError(
                f"the server at {client.api_url} no longer answers; the run may still be running"
            ) from None
        assert state is not None
        if state.name != printed_state:
            printed_state = state.name
            echo(format_state(state))
        if state.is_final():
            return state.is_completed()
        time.sleep(POLL_INTERVAL_S)


def _print_log(client: SyncPrefectClient, run: FlowRun, offset: int, echo: Echo) -> int:
    """Print the records of `flows`, and errors, from number `offset` on; returns how many were read."""
    records = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), offset=offset)
    for record in records:
        if record.name.startswith("flows") or record.level >= logging.ERROR:
            first_line = record.message.strip().partition("\n")[0]
            echo(f"{record.timestamp.astimezone():%H:%M:%S}  {first_line}")
    return len(records)


def format_state(state: State) -> str:
    """For example `16:53:17  Completed`, followed by the first line of the state's message if it has one."""
    message = f": {state.message.splitlines()[0]}" if state.message else ""
    return f"{state.timestamp.astimezone():%H:%M:%S}  {state.name}{message}"
