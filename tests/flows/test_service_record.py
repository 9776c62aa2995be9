"""The record of what `dsanet up` has started, and the services that are found without it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_HOME, temporary_settings

from flows.server.service_record import (
    RECORD_VARIABLE,
    SERVER,
    WORKER,
    WORKSPACE_VARIABLE,
    Service,
    Services,
    find_services,
    read_services,
    services_file,
)
from flows.server.services import down

SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    """The path of the record in an empty Prefect home."""
    with temporary_settings({PREFECT_HOME: tmp_path}):
        yield services_file()


@pytest.fixture
def started(record: Path) -> Iterator[dict[str, psutil.Process]]:
    """A server and a worker with the command lines and the environment of Prefect's."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": "http://127.0.0.1:4321/api",
        RECORD_VARIABLE: str(record),
        WORKSPACE_VARIABLE: "/ws",
    }
    processes = {
        name: subprocess.Popen([sys.executable, "-c", SLEEP, name, "start"], env=environment)
        for name in (SERVER, WORKER)
    }
    other = subprocess.Popen([sys.executable, "-c", SLEEP, SERVER, "start"])  # of another home
    yield {name: psutil.Process(process.pid) for name, process in processes.items()}
    assert other.poll() is None
    for process in (*processes.values(), other):
        process.kill()
        process.wait()


@pytest.mark.parametrize("content", [None, "", '{"url": "http', '{"started": []}', "\xff"])
def test_services_are_found_without_a_readable_record(
    content: str | None, record: Path, started: dict[str, psutil.Process]
) -> None:
    if content is not None:
        record.write_bytes(content.encode("latin-1"))
    found = read_services()
    assert found is not None
    assert found.url == "http://127.0.0.1:4321"
    assert {service.name: service.process() for service in found.started} == started
    assert found.workspace == Path("/ws")


def test_down_stops_what_a_damaged_record_does_not_name(
    record: Path, started: dict[str, psutil.Process]
) -> None:
    record.write_text("{")
    assert down(print) == [WORKER, SERVER]
    assert find_services(record) is None
    assert not record.exists()
    assert down(print) == []


def test_a_damaged_record_without_services_is_said_to_be_damaged(record: Path) -> None:
    record.write_text("{")
    with pytest.raises(
        ValueError, match=r"dsanet-up\.json is damaged, and no process of `dsanet up` was found"
    ):
        down(print)


def test_a_record_is_read_as_written(record: Path, started: dict[str, psutil.Process]) -> None:
    services = Services(url="http://127.0.0.1:1", started=[Service.of(WORKER, started[WORKER])])
    services.write()
    assert read_services() == services
    assert services.is_running(WORKER)
    assert not services.are_running()
