"""What a single machine needs for scheduled runs: Prefect's server and a worker, in the background.

`up` starts them, makes the deployments and notes in PREFECT_HOME/dsanet-up.json which processes these are;
`down` stops exactly those.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
from prefect.settings import get_current_settings
from pydantic import BaseModel, ValidationError

from flows.server.connection import answers
from flows.server.deployments import DECLARED_IN, declared
from flows.server.stale_runs import give_up_dead_runs

HOST = "127.0.0.1"
SERVER, WORKER = "server", "worker"
SECONDS_TO_START = 180.0
SECONDS_TO_STOP = 20.0

Say = Callable[[str], None]


class Service(BaseModel):
    """A process that `up` started; `created` tells it from a later one of the same number."""

    name: str
    pid: int
    created: float

    def process(self) -> psutil.Process | None:
        """The process while it runs."""
        try:
            process = psutil.Process(self.pid)
            alive = process.create_time() == self.created and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return None
        return process if alive else None


class Services(BaseModel):
    """What `up` has started."""

    url: str
    """The server's address; its API is below `/api`."""
    started: list[Service] = []

    @property
    def api(self) -> str:
        return f"{self.url}/api"

    def has(self, name: str) -> bool:
        """Whether the service of this name still runs."""
        return any(service.name == name and service.process() for service in self.started)

    def running(self) -> bool:
        """Whether all of it still runs."""
        return self.has(SERVER) and self.has(WORKER)


def home() -> Path:
    """Where Prefect keeps its own, and `up` its note and its logs."""
    return get_current_settings().home


def note() -> Path:
    """The file that says what `up` has started."""
    return home() / "dsanet-up.json"


def recall() -> Services | None:
    """What `up` has started and `down` not yet stopped, whether it still runs or not."""
    try:
        return Services.model_validate_json(note().read_text())
    except (FileNotFoundError, ValidationError):
        return None


def up(port: int, database_url: str | None, workspace: Path | None, say: Say) -> Services:
    """Start server, worker and deployments; what is already up is left alone, and with it the runs under way.

    Raises ValueError where the port is taken or a part does not start; nothing is then left running.
    """
    services = _what_is_left(f"http://{HOST}:{port}", say)
    if services.running():
        return services
    if not services.has(SERVER) and answers(services.api):
        raise ValueError(f"a server already answers at {services.url}; stop it, or give another --port")
    environment = os.environ | {"PREFECT_API_URL": services.api, "PREFECT_WORKER_QUERY_SECONDS": "2"}
    environment["PREFECT_LOGGING_LEVEL"] = "INFO"  # of the services' log files; nobody reads them on a screen
    if database_url is not None:
        environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
    if workspace is not None:
        environment["DSANET_WORKSPACE"] = str(workspace.absolute())
    try:
        if not services.has(SERVER):
            say("starting Prefect's server (the first time it makes its database: up to a minute)")
            command = ["server", "start", "--host", HOST, "--port", str(port)]
            _wait_for(services, _start(services, SERVER, command, environment))
        if not services.has(WORKER):
            say("starting a worker")
            name, pool = f"dsanet on {socket.gethostname()}", declared()[0].work_pool["name"]
            give_up_dead_runs(services.api, name)
            command = ["worker", "start", "--name", name, "--pool", pool, "--type", "process"]
            _start(services, WORKER, command, environment)
        say("making the deployments")
        _deploy(environment)
    except BaseException:
        down(say)
        raise
    return services


def _what_is_left(url: str, say: Say) -> Services:
    """What still runs of an earlier `up`: all of it, wherever it is, or the part that belongs to `url`."""
    known = recall()
    if known is None or (known.url != url and not known.running()):
        down(say)
        return Services(url=url)
    return Services(url=known.url, started=[service for service in known.started if service.process()])


def down(say: Say) -> list[str]:
    """Stop what `up` started, the worker and its runs first; returns the names of what was stopped."""
    services = recall()
    if services is None:
        return []
    stopped = []
    for service in sorted(services.started, key=lambda service: service.name == SERVER):
        process = service.process()
        if process is not None:
            say(f"stopping the {service.name}")
            _stop(process)
            stopped.append(service.name)
    note().unlink(missing_ok=True)
    return stopped


def log_file(name: str) -> Path:
    """Where the output of a service goes."""
    return home() / f"dsanet-{name}.log"


def _start(services: Services, name: str, command: list[str], environment: dict[str, str]) -> Service:
    home().mkdir(parents=True, exist_ok=True)
    with log_file(name).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "prefect", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=DECLARED_IN.parent,
            start_new_session=True,  # a Ctrl-C on the terminal is not for them
        )
    created = psutil.Process(process.pid).create_time()
    service = Service(name=name, pid=process.pid, created=created)
    services.started.append(service)
    note().write_text(services.model_dump_json(indent=2) + "\n")
    return service


def _wait_for(services: Services, server: Service) -> None:
    """Until the server answers. Raises ValueError with its last line if it ends or takes too long."""
    deadline = time.monotonic() + SECONDS_TO_START
    while not answers(services.api):
        ended = server.process() is None
        if ended or time.monotonic() > deadline:
            log = log_file("server")
            lines = log.read_text(errors="replace").strip().splitlines() or ["(nothing)"]
            how = "ended" if ended else f"did not answer within {SECONDS_TO_START:.0f} s"
            raise ValueError(f"Prefect's server {how}; its last words in {log}: {lines[-1]}")
        time.sleep(0.3)


def _deploy(environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"]
    done = subprocess.run(command, env=environment, cwd=DECLARED_IN.parent, capture_output=True, text=True)
    log_file("deploy").write_text(done.stdout + done.stderr)
    if done.returncode:
        raise ValueError(f"`prefect deploy --all` failed; its output is in {log_file('deploy')}")


def _stop(process: psutil.Process) -> None:
    """End a process and all it has started: politely first, runs may write their last lines."""
    family = [*process.children(recursive=True), process]
    for member in family:
        _signal(member.terminate)
    _, stubborn = psutil.wait_procs(family, timeout=SECONDS_TO_STOP)
    for member in stubborn:
        _signal(member.kill)
    psutil.wait_procs(stubborn, timeout=SECONDS_TO_STOP)


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):
        send()
