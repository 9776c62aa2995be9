"""The services that `dsanet up` has started, recorded in PREFECT_HOME/dsanet-up.json.

The processes have the path of the record in an environment variable, by which they are found if the record is
missing or damaged.
"""

from contextlib import suppress
from pathlib import Path

import psutil
from prefect.settings import get_current_settings
from pydantic import BaseModel, ValidationError

from extract.atomic import write_atomically
from extract.errors import InputError
from flows.server.processes import running_process

SERVER, WORKER = "server", "worker"
WORKSPACE_VARIABLE = "DSANET_WORKSPACE"
RECORD_VARIABLE = "DSANET_UP"
"""Environment variable of a service and its children: the path of the record."""


class Service(BaseModel):
    """A process that `up` started. `created` is its start time: a later process may get the same pid."""

    name: str
    pid: int
    created: float

    @classmethod
    def of(cls, name: str, process: psutil.Process) -> "Service":
        """The record of a running process."""
        return cls(name=name, pid=process.pid, created=process.create_time())

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

    def running(self) -> list[Service]:
        """The services that have not ended."""
        return [service for service in self.started if service.process()]

    def is_running(self, name: str) -> bool:
        """True if the service with this name was started and has not ended."""
        return any(service.name == name for service in self.running())

    def are_running(self) -> bool:
        """True if the server and the worker are running."""
        return self.is_running(SERVER) and self.is_running(WORKER)

    def variable(self, name: str, *of: str) -> str | None:
        """An environment variable of the first running service of these names; None if there is none."""
        for service in (service for name in of for service in self.started if service.name == name):
            with suppress(psutil.Error):
                if process := service.process():
                    value: str | None = process.environ().get(name)
                    return value
        return None

    @property
    def workspace(self) -> Path | None:
        """The default workspace of runs, None if neither worker nor server is running."""
        found = self.variable(WORKSPACE_VARIABLE, WORKER, SERVER)
        return Path(found) if found else None

    def write(self) -> None:
        """Replace the record."""
        write_atomically(services_file(), self.model_dump_json(indent=2) + "\n")


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
    """The recorded services, running or not; without a readable record, those found running.

    None if `up` has started none since the last `down`. Raises ValueError if the record is damaged and no
    service is found.
    """
    try:
        return Services.model_validate_json(services_file().read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return find_services(services_file())
    except ValidationError:
        found = find_services(services_file())
        if found is None:
            raise InputError(
                f"{services_file()} is damaged, and no process of `dsanet up` was found; if Prefect's server "
                "or worker still runs, stop it, then delete the file"
            ) from None
        return found


def find_services(record: Path) -> Services | None:
    """The running services whose environment names this record; None if there are none."""
    started, url = [], ""
    for process in psutil.process_iter():
        try:
            environment, command = process.environ(), process.cmdline()
            name = next((name for name in (SERVER, WORKER) if [name, "start"] == command[3:5]), None)
            if name and environment.get(RECORD_VARIABLE) == str(record):
                started.append(Service.of(name, process))
                url = environment["PREFECT_API_URL"].removesuffix("/api")
        except (psutil.Error, OSError):
            continue  # ended meanwhile, or of another user
    return Services(url=url, started=started) if started else None
