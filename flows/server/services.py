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
from prefect.settings import PREFECT_API_URL, get_current_settings, temporary_settings
from pydantic import BaseModel, ValidationError

from extract.atomic import write_atomically
from extract.errors import InputError
from flows.server.connection import server_answers
from flows.server.deployments import PREFECT_YAML, declared_deployments
from flows.server.processes import (
    default_sigint_in_children,
    running_process,
    stop_tree,
    terminate_children,
)
from flows.server.stale_runs import mark_stale_runs_crashed

HOST = "127.0.0.1"
SERVER, WORKER = "server", "worker"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 20.0

Echo = Callable[[str], None]
"""Prints one line for the user."""


class Service(BaseModel):
    """A process that `up` started. `created` is its start time: a later process may get the same pid."""

    name: str
    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The process, or None if it has ended."""
        return running_process(self.pid, lambda created: created == self.created)


class Services(BaseModel):
    """The content of `dsanet-up.json`."""

    url: str
    """Address of the server and its UI; the API is below `/api`."""
    started: list[Service] = []

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    def is_running(self, name: str) -> bool:
        """True if the service with this name was started and has not ended."""
        return any(service.name == name and service.process() for service in self.started)

    def are_running(self) -> bool:
        """True if the server and the worker are running."""
        return self.is_running(SERVER) and self.is_running(WORKER)


def prefect_home() -> Path:
    """Prefect's folder (PREFECT_HOME), which also has `dsanet-up.json` and the log files of the services."""
    return get_current_settings().home


def services_file() -> Path:
    """The file in which `up` records what it started."""
    return prefect_home() / "dsanet-up.json"


def log_file(name: str) -> Path:
    """The log file of a service."""
    return prefect_home() / f"dsanet-{name}.log"


def read_services() -> Services | None:
    """The recorded services, running or not; None if `up` has started none since the last `down`."""
    try:
        return Services.model_validate_json(services_file().read_text())
    except (FileNotFoundError, ValidationError):
        return None


def up(port: int, database_url: str | None, workspace: Path, echo: Echo) -> Services:
    """Start the server, the worker and the deployments. Running services and their runs are left alone.

    Raises ValueError if another server uses the port or if a part does not start; everything that this call
    or an earlier one started is then stopped.
    """
    services = _services_still_running(f"http://{HOST}:{port}", echo)
    if services.are_running():
        return services
    if not services.is_running(SERVER) and server_answers(services.api):
        raise InputError(
            f"another Prefect server answers at {services.url}; stop that server, or give another --port"
        )
    environment = _environment(services, database_url, workspace)
    try:
        if not services.is_running(SERVER):
            echo("starting Prefect's server (the first start creates its database: up to a minute)")
            _start_server(services, port, environment)
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

    Returns the names of the services that were running.
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


def _services_still_running(url: str, echo: Echo) -> Services:
    """The recorded services that still run, without the others.

    If server and worker both run they are kept whatever their address; a single one only if it belongs to
    `url`.
    """
    recorded = read_services()
    if recorded is None or (recorded.url != url and not recorded.are_running()):
        down(echo)
        return Services(url=url)
    return Services(url=recorded.url, started=[one for one in recorded.started if one.process()])


def _environment(services: Services, database_url: str | None, workspace: Path) -> dict[str, str]:
    """Environment variables of the services."""
    environment = os.environ | {
        "PREFECT_API_URL": services.api,
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "DSANET_WORKSPACE": str(workspace.absolute()),
        "PREFECT_LOGGING_LEVEL": "INFO",  # in the log files; `dsanet` sets CRITICAL for its terminal
    }
    if database_url is not None:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
    return environment


def _start_server(services: Services, port: int, environment: dict[str, str]) -> None:
    """Start the server and wait until it answers. Raises ValueError with its last log line if it does not."""
    server = _start(services, SERVER, ["server", "start", "--host", HOST, "--port", str(port)], environment)
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
    prefect_home().mkdir(parents=True, exist_ok=True)
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
    service = Service(name=name, pid=process.pid, created=psutil.Process(process.pid).create_time())
    services.started.append(service)
    write_atomically(services_file(), services.model_dump_json(indent=2) + "\n")
    return service


def _deploy(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=environment, cwd=PREFECT_YAML.parent, capture_output=True, text=True)
    log_file("deploy").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise InputError(f"`prefect deploy --all` failed; its output is in {log_file('deploy')}")
