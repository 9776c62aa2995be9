"""Prefect's embedded server: it ends with the process that started it, and commands do not share one."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from flows.server.home import SET_BY_USER, private_home, use_private_home
from tests.flows.commands import DSANET
from tests.flows.tiny import run_arguments, tiny_footage

OWNER = """
import time
from flows.cli.run_flows import _prefect_server, use_private_home
use_private_home()
with _prefect_server():
    from prefect.server.api.server import SubprocessASGIServer
    server = SubprocessASGIServer()
    print(server.server_process.pid, server.api_url, flush=True)
    time.sleep(600)
"""
PATIENCE_S = 30


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's environment with another HOME and without the folder of the tests' Prefect."""
    kept = {name: value for name, value in os.environ.items() if name not in (*SET_BY_USER, "XDG_CACHE_HOME")}
    return kept | {"HOME": str(home)} | variables


class Owner:
    """A process with an embedded server, as every command has it while it runs a flow."""

    def __init__(self, home: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER], env=environment(home), stdout=subprocess.PIPE, text=True
        )

    def wait(self) -> None:
        """Wait until the server answers."""
        assert self.process.stdout is not None
        pid, self.api = self.process.stdout.readline().split()
        self.server = psutil.Process(int(pid))

    def server_answers(self) -> bool:
        return httpx.get(f"{self.api}/health", timeout=PATIENCE_S).status_code == httpx.codes.OK


@pytest.fixture(scope="module")
def owners(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[Owner]]]:
    """A home folder and two processes that start their servers there at the same time."""
    home = tmp_path_factory.mktemp("home")
    started = [Owner(home) for _ in range(2)]
    for owner in started:
        owner.wait()
    yield home, started
    for owner in started:
        owner.process.kill()
        owner.process.communicate()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def has_ended(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_two_commands_at_once_have_a_server_and_a_database_each(owners: tuple[Path, list[Owner]]) -> None:
    home, (first, second) = owners
    assert first.server_answers()
    assert second.server_answers()
    assert first.api != second.api
    cache = home / ".cache" / "dsanet" / private_home().name
    assert {path.name for path in cache.glob("*.db")} == {"prefect.db", "embedded-2.db"}
    assert not (home / ".prefect").exists()


@pytest.mark.parametrize(("number", "sent"), [(0, signal.SIGKILL), (1, signal.SIGTERM)])
def test_a_server_ends_with_its_owner(
    number: int, sent: signal.Signals, owners: tuple[Path, list[Owner]]
) -> None:
    owner = owners[1][number]
    assert not has_ended(owner.server)
    owner.process.send_signal(sent)
    owner.process.wait(PATIENCE_S)
    wait_for(lambda: has_ended(owner.server))
    assert all(other.server_answers() for other in owners[1][number + 1 :])


@pytest.mark.slow
def test_a_server_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "prefect.db").write_text("no database" * 1000)
    done = subprocess.run(
        [*DSANET, *run_arguments(tiny_footage(tmp_path / "footage"), tmp_path / "ws")],
        env=environment(tmp_path, PREFECT_HOME=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE_S,
    )
    assert done.returncode == 2, done.stderr
    start, line = done.stderr.splitlines()
    assert start.startswith("starting Prefect's embedded server")
    assert line.startswith(f"dsanet: Prefect's embedded server ended; the cause in {tmp_path}/embedded-1.log")
    assert "file is not a database" in line


@pytest.mark.parametrize("variable", ["HOME", "PREFECT_HOME"])
def test_a_folder_that_cannot_be_written_is_one_line(variable: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "home"
    done = subprocess.run(
        [*DSANET, *run_arguments(tiny_footage(tmp_path / "footage"), tmp_path / "ws")],
        env=environment(tmp_path, **{variable: str(folder)}),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"dsanet: Prefect cannot write to its folder {folder}")
    assert line.endswith("(Not a directory); make it writable, or set PREFECT_HOME to a folder that is")


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (("up",), "make it writable, or set PREFECT_HOME to a folder that is"),
        (("demo", "--out", "demo"), "make it writable, or set PREFECT_HOME to a folder that is"),
        (
            ("trigger", "train"),
            "no Prefect server is known; start one with `dsanet up`, or set PREFECT_API_URL",
        ),
    ],
)
def test_every_command_says_in_one_line_what_it_cannot_write(
    command: tuple[str, ...], end: str, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    done = subprocess.run(
        [*DSANET, *command],
        env=environment(tmp_path / "file", PYTHONPATH=str(Path(__file__).parents[2])),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("dsanet: ")
    assert line.endswith(end)
    assert not (tmp_path / "demo").exists()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty home folder, and none of Prefect's variables set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (*SET_BY_USER, "PREFECT_PROFILES_PATH", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")  # restored at the end, whatever the test sets
        monkeypatch.delenv(name)
    return tmp_path


def test_commands_have_a_prefect_home_of_their_own(home: Path) -> None:
    use_private_home()
    assert os.environ["PREFECT_HOME"] == str(private_home())
    assert private_home().parent == home / ".cache" / "dsanet"
    assert "PREFECT_PROFILES_PATH" not in os.environ


def test_the_users_profile_stays_in_use(home: Path) -> None:
    (home / ".prefect").mkdir()
    (home / ".prefect" / "profiles.toml").touch()
    use_private_home()
    assert os.environ["PREFECT_HOME"] == str(private_home())
    assert os.environ["PREFECT_PROFILES_PATH"] == str(home / ".prefect" / "profiles.toml")


@pytest.mark.parametrize("variable", SET_BY_USER)
def test_what_the_user_has_set_is_left_alone(
    variable: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(home / "own"))
    use_private_home()
    assert {name: os.environ[name] for name in SET_BY_USER if name in os.environ} == {
        variable: str(home / "own")
    }
