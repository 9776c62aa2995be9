"""`dsanet up` and `dsanet down`: Prefect's server, a worker and the deployments on one machine.

`up` records the processes that it starts in PREFECT_HOME/dsanet-up.json; `down` stops exactly these.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from prefect.client.orchestration import get_client
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from extract.errors import InputError
from extract.remote.store import absolute_place, place_text
from flows.server.connection import server_answers
from flows.server.deployments import PREFECT_YAML, declared_deployments
from flows.server.home import check_writable
from flows.server.processes import default_sigint_in_children, stop_tree, terminate_children
from flows.server.service_record import (
    RECORD_VARIABLE,
    SERVER,
    WORKER,
    WORKSPACE_VARIABLE,
    Service,
    Services,
    log_file,
    prefect_home,
    read_services,
    services_file,
)
from flows.server.stale_runs import mark_stale_runs_crashed

HOST, DEFAULT_PORT = "127.0.0.1", 4200
DEFAULT_WORKSPACE = Path("workspace")
DATABASE_VARIABLE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0

Echo = Callable[[str], None]
"""Prints one line for the user."""


def up(port: int | None, database_url: str | None, workspace: Path | None, echo: Echo) -> Services:
    """Start the server, the worker and the deployments. Running services and their runs are left alone.

    What is None is as in the running services, or by default. Raises ValueError if a running service differs
    from what is given, if another server uses the port or if a part does not start; everything that this call
    or an earlier one started is then stopped, except in the first case.
    """
    check_writable(prefect_home())
    services = _services_still_running(port, echo)
    _check_unchanged(services, port, database_url, workspace)
    if services.are_running():
        services.write()  # it may have been damaged
        return services
    if not services.is_running(SERVER) and server_answers(services.api):
        raise InputError(
            f"another Prefect server answers at {services.url}; stop that server, or give another --port"
        )
    environment = _environment(services, database_url, workspace)
    try:
        if not services.is_running(SERVER):
            echo("starting Prefect's server (the first start creates its database: up to a minute)")
            _start_server(services, environment)
        if not services.is_running(WORKER):
            echo("starting a worker")
            _start_worker(services, environment)
        echo("deploying the flows")
        _deploy(environment)
    except BaseException:
        down(echo)
        raise
    return services


def down(echo: Echo) -> list[str]:
    """Stop the recorded services: first the worker's runs, then the worker, then the server.

    Returns the names of the services that were running. Raises ValueError if the record is damaged and no
    service is found.
    """
    services = read_services()
    if services is None:
        return []
    stopped = []
    for service in sorted(services.started, key=lambda service: service.name == SERVER):
        process = service.process()
        if process is not None:
            echo(f"stopping the {service.name}")
            if service.name == WORKER:
                terminate_children(process, STOP_TIMEOUT_S)
            stop_tree(process, STOP_TIMEOUT_S)
            stopped.append(service.name)
    services_file().unlink(missing_ok=True)
    return stopped


def _services_still_running(port: int | None, echo: Echo) -> Services:
    """The recorded services that still run, without the others.

    If server and worker both run they are kept whatever their address; a single one only if it belongs to
    `port`.
    """
    recorded = read_services()
    if recorded is not None and (port is None or recorded.url == _url(port) or recorded.are_running()):
        running = recorded.running()
        if running:
            return Services(url=recorded.url, started=running)
    down(echo)
    return Services(url=_url(port or DEFAULT_PORT))


def _url(port: int) -> str:
    return f"http://{HOST}:{port}"


def _check_unchanged(
    running: Services, port: int | None, database_url: str | None, workspace: Path | None
) -> None:
    """Raises ValueError if a running service was started with another value of an option that is given."""
    advice = "stop it with `dsanet down` first"
    if port is not None and running.url != _url(port):
        raise InputError(f"Prefect's server already runs at {running.url}, not on port {port}; {advice}")
    used = running.workspace if running.is_running(WORKER) else None
    if workspace is not None and used is not None and used != absolute_place(workspace):
        raise InputError(
            f"the worker already runs with --out {place_text(used)}; "
            f"use `dsanet trigger --out {place_text(workspace)}`, or {advice}"
        )
    if database_url not in (None, running.variable(DATABASE_VARIABLE, SERVER)) and running.is_running(SERVER):
        raise InputError(f"Prefect's server already runs with another --database-url; {advice}")


def _environment(services: Services, database_url: str | None, workspace: Path | None) -> dict[str, str]:
    """Environment variables of the services. Those of a running one are kept where nothing else is given."""
    workspace = workspace or services.workspace or DEFAULT_WORKSPACE
    environment = os.environ | {
        "PREFECT_API_URL": services.api,
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        WORKSPACE_VARIABLE: place_text(absolute_place(workspace)),
        "PREFECT_LOGGING_LEVEL": "INFO",  # in the log files; `dsanet` sets CRITICAL for its terminal
        RECORD_VARIABLE: str(services_file()),
    }
    if database_url is None:
        database_url = services.variable(DATABASE_VARIABLE, SERVER)
    return environment if database_url is None else environment | {DATABASE_VARIABLE: database_url}


def _start_server(services: Services, environment: dict[str, str]) -> None:
    """Start the server and wait until it answers. Raises ValueError with its last log line if it does not."""
    port = services.url.rpartition(":")[2]
    server = _start(services, SERVER, ["server", "start", "--host", HOST, "--port", port], environment)
    _wait_until(lambda: server_answers(services.api), server, "did not answer")


def _wait_until(is_ready: Callable[[], bool], service: Service, problem: str) -> None:
    """Wait until a started service is ready. Raises ValueError with its last log line if it never is."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not is_ready():
        ended = service.process() is None
        if ended or time.monotonic() > deadline:
            log = log_file(service.name)
            lines = log.read_text(errors="replace").strip().splitlines() or ["(empty)"]
            reason = "ended" if ended else f"{problem} within {START_TIMEOUT_S:.0f} s"
            raise InputError(f"Prefect's {service.name} {reason}; last line of {log}: {lines[-1]}")
        time.sleep(0.3)


def _start_worker(services: Services, environment: dict[str, str]) -> None:
    """Start the worker and wait until it has created its work pool, without which no flow can be deployed."""
    name, pool = f"dsanet on {socket.gethostname()}", declared_deployments()[0].work_pool["name"]
    mark_stale_runs_crashed(services.api, name)
    worker = _start(
        services,
        WORKER,
        ["worker", "start", "--name", name, "--pool", pool, "--type", "process"],
        environment,
    )
    _wait_until(lambda: _has_work_pool(services.api, pool), worker, f"did not create the work pool {pool}")


def _has_work_pool(api: str, pool: str) -> bool:
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        try:
            client.read_work_pool(pool)
        except ObjectNotFound:
            return False
    return True


def _start(services: Services, name: str, command: list[str], environment: dict[str, str]) -> Service:
    """Start `prefect COMMAND` in the background and record it."""
    with log_file(name).open("wb") as log, default_sigint_in_children():
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=PREFECT_YAML.parent,
            start_new_session=True,  # Ctrl-C on this terminal does not reach the services
        )
    service = Service.of(name, psutil.Process(process.pid))
    services.started.append(service)
    services.write()
    return service


def _deploy(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=environment, cwd=PREFECT_YAML.parent, capture_output=True, text=True)
    log_file("deploy").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise InputError(f"`prefect deploy --all` failed; its output is in {log_file('deploy')}")
