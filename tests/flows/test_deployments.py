"""The deployments on a real server and worker, with runs started from the command line.

`dsanet up` starts separate processes; runs are watched, refused, scheduled, killed,
cancelled, and looked at in a browser.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from flows.demo.footage import make_footage
from flows.workspace.locks import BusyError
from flows.workspace.workspace import Workspace
from tests.flows.commands import DSANET
from tests.flows.tiny import run_arguments, tiny_footage
from tests.postgres import free_port
from tests.prefect_server import PREFECT

DEPLOYMENT = "extract-train-eval/default"
CONFIG = {
    "preset": "small",
    "extract": {"weights": "random", "snippet_length": 64},
    "model": {"clip_weights": "random", "bag_length": 16},
    "train": {"epochs": 1},
    "evaluate": {"bootstrap": 20},
}
ARTIFACTS = {"metrics", "curves", "extract-progress", "train-progress"}
ARTIFACTS_TAB = "//li[normalize-space()='Artifacts']"
FOR_BROWSERS = "http://prefect.example:4200"  # PREFECT_UI_URL, if browsers need another address than clients
STAGES = ("extract", "train", "infer", "evaluate")
PATIENCE_S = 240
SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Machine:
    """The services of `dsanet up`: Prefect's home folder, the server's URL, the workspace."""

    home: Path
    url: str
    workspace: Path

    def dsanet(self, *words: str) -> subprocess.CompletedProcess[str]:
        return finished_process(self.begin(*DSANET, *words))

    def prefect(self, *words: str) -> subprocess.CompletedProcess[str]:
        return finished_process(self.begin(*PREFECT, *words))

    def begin(self, *command: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "PREFECT_HOME": str(self.home), "PREFECT_API_URL": f"{self.url}/api"}
        return subprocess.Popen(
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def up(self) -> None:
        up = self.dsanet("up", "--port", self.url.rpartition(":")[2], "--out", str(self.workspace))
        assert up.returncode == 0, up.stdout + up.stderr

    def ask(self, path: str, body: Any) -> Any:
        """Response of the server's API. Retried while SQLite is locked, as Prefect's clients do."""
        answer = httpx.post(f"{self.url}/api/{path}", json=body, timeout=30)
        if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
            time.sleep(1)
            return self.ask(path, body)
        return answer.raise_for_status().json()

    def runs(self, **wanted: Any) -> list[dict[str, Any]]:
        """The runs that match the filter, newest first."""
        return list(self.ask("flow_runs/filter", {"flow_runs": wanted, "sort": "EXPECTED_START_TIME_DESC"}))

    def stage_lines(self, run: dict[str, Any]) -> list[str]:
        """The log lines of a run's stages."""
        logs = self.ask("logs/filter", {"logs": {"flow_run_id": {"any_": [run["id"]]}}})
        return [log["message"] for log in logs if log["name"] == "flows.pipeline.cache"]

    def processes(self) -> dict[str, psutil.Process]:
        """The recorded services by name."""
        noted = json.loads((self.home / "dsanet-up.json").read_text())
        return {service["name"]: psutil.Process(service["pid"]) for service in noted["started"]}


def finished_process(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """Wait for a process; returns its exit code and output."""
    out, errors = process.communicate(timeout=2 * PATIENCE_S)
    return subprocess.CompletedProcess(process.args, process.returncode, out, errors)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The services, for all tests of this module; at the end `dsanet down` leaves no process."""
    folder = tmp_path_factory.mktemp("machine")
    machine = Machine(folder / "prefect", f"http://127.0.0.1:{free_port()}", folder / "ws")
    machine.up()
    started = list(machine.processes().values())
    yield machine
    started += machine.processes().values()
    (machine.home / "dsanet-up.json").write_text("{")  # as a full disk leaves it
    down = machine.dsanet("down")
    assert "stopped: worker, server" in down.stdout, down.stdout + down.stderr
    assert not any(process.is_running() for process in started)


@pytest.fixture(scope="module")
def watched(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The output of `dsanet trigger --watch` for a run that completes."""
    manifest = tiny_footage(tmp_path_factory.mktemp("tiny") / "footage")
    given = ["--param", f"source.manifest={manifest}", "--param", f"config={json.dumps(CONFIG)}"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_UI_URL", FOR_BROWSERS)
        done = machine.dsanet("trigger", "extract-train-eval", *given, "--watch")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def finished(machine: Machine, watched: list[str]) -> dict[str, Any]:
    """The watched run, from the server's API."""
    (run,) = machine.runs()
    return run


def until(what: str, reached: Callable[[], Any]) -> Any:
    """Poll `reached` until it returns a true value, which is returned."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if found := reached():
            return found
        time.sleep(0.2)
    raise AssertionError(f"not within {PATIENCE_S} s: {what}")


def feature_times(workspace: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in (workspace / "features").glob("*.h5")}


def test_a_triggered_run_completes_and_publishes_its_artifacts(
    machine: Machine, finished: dict[str, Any]
) -> None:
    assert finished["state_type"] == "COMPLETED"
    assert finished["name"].startswith("extract-train-eval manifest 20")
    assert (machine.workspace / "report" / "index.html").is_file()
    artifacts = machine.ask("artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [finished["id"]]}}})
    assert {artifact["key"] for artifact in artifacts} >= ARTIFACTS
    assert [line.split()[0] for line in machine.stage_lines(finished)] == list(STAGES)


def test_watching_a_run_prints_its_page_its_stages_and_its_end(
    finished: dict[str, Any], watched: list[str]
) -> None:
    assert watched[0] == f"run {FOR_BROWSERS}/runs/flow-run/{finished['id']}"
    told = [line.split()[1] for line in watched[1:]]
    assert [word for word in told if word in STAGES] == list(STAGES)
    assert told[-1] == "Completed"


def test_an_invalid_parameter_is_refused_before_anything_runs(
    machine: Machine, finished: dict[str, Any]
) -> None:
    done = machine.prefect("deployment", "run", DEPLOYMENT, "-p", 'config={"train": {"epochs": -1}}')
    assert done.returncode != 0
    assert [run["id"] for run in machine.runs()] == [finished["id"]]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("train", "--param", "trian.epochs=3"), "train has no parameter trian; did you mean train? it has"),
        (("train", "--param", "train.epoch=3"), "setting train.epoch:"),
        (("evaluate", "--out", "absent"), "absent is not a workspace"),
        (("extract", "--param", "source.manifest=/absent/videos.csv"), "no file /absent/videos.csv"),
    ],
)
def test_a_run_that_would_fail_at_its_start_is_not_made(
    given: tuple[str, ...], complaint: str, machine: Machine, finished: dict[str, Any], tmp_path: Path
) -> None:
    words = [str(tmp_path / word) if word == "absent" else word for word in given]
    done = machine.dsanet("trigger", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert complaint in line
    assert not (tmp_path / "absent").exists()
    assert [run["id"] for run in machine.runs()] == [finished["id"]]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("--out", "/elsewhere"), "the worker already runs with --out"),
        (("--port", "1"), "not on port 1; stop it with `dsanet down` first"),
        (("--database-url", "postgresql+asyncpg://u@h/d"), "already runs with another --database-url"),
    ],
)
def test_up_refuses_what_it_would_not_change(
    given: tuple[str, ...], complaint: str, machine: Machine, watched: list[str]
) -> None:
    before = machine.processes()
    done = machine.dsanet("up", *given)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert complaint in line
    assert machine.processes() == before


def test_a_damaged_record_of_the_services_is_restored(machine: Machine, watched: list[str]) -> None:
    before = machine.processes()
    (machine.home / "dsanet-up.json").write_text('{"url": "http')
    done = machine.dsanet("up")  # finds the services; `down` does as well, at the end of this module
    assert done.returncode == 0, done.stderr
    assert f"UI     {machine.url}" in done.stdout
    assert machine.processes() == before


@pytest.mark.slow
def test_watching_a_failing_run_exits_non_zero(machine: Machine, finished: dict[str, Any]) -> None:
    given = ["-p", 'source={"manifest": "/nowhere/videos.csv"}']
    assert machine.prefect("deployment", "run", DEPLOYMENT, *given, "--watch").returncode == 1
    (failed,) = machine.runs(state={"type": {"any_": ["FAILED"]}})
    assert failed["id"] != finished["id"]


@pytest.mark.slow
def test_a_schedule_fires(machine: Machine, finished: dict[str, Any]) -> None:
    # The scheduler works once a minute and skips times that have passed by then.
    soon = (datetime.now(timezone.utc) + timedelta(seconds=90)).isoformat()
    schedule = {"schedule": {"interval": 86400, "anchor_date": soon}, "active": True}
    machine.ask(f"deployments/{finished['deployment_id']}/schedules", [schedule])
    wanted = {"state": {"type": {"any_": ["COMPLETED"]}}, "id": {"not_any_": [finished["id"]]}}
    (run,) = until("a scheduled run completes", lambda: machine.runs(**wanted))
    assert run["auto_scheduled"]
    assert all(line.endswith("(Cached)") for line in machine.stage_lines(run))


def begun(machine: Machine, tmp_path: Path) -> tuple[Path, list[str], dict[str, Any]]:
    """Start a run and wait until it has extracted two videos; returns workspace, parameters and run."""
    manifest, _ = make_footage(tmp_path / "footage", seed=2, normal=2, per_event=1)
    workspace = tmp_path / "ws"
    config = CONFIG | {"extract": {"weights": "random", "snippet_length": 8}}
    values = {"workspace": str(workspace), "source": {"manifest": str(manifest)}, "config": config}
    given = [word for name, value in values.items() for word in ("-p", f"{name}={json.dumps(value)}")]
    assert machine.prefect("deployment", "run", DEPLOYMENT, *given).returncode == 0
    until("two videos are extracted", lambda: len(feature_times(workspace)) >= 2)
    newest = machine.runs(state={"type": {"any_": ["RUNNING"]}})[0]
    return workspace, given, newest


def assert_rerun_resumes(machine: Machine, workspace: Path, given: list[str], kept: dict[str, int]) -> None:
    """Run it again: it completes, and the feature files in `kept` are not written again."""
    again = machine.prefect("deployment", "run", DEPLOYMENT, *given, "--watch")
    assert again.returncode == 0, again.stdout + again.stderr
    assert (workspace / "report" / "index.html").is_file()
    after = feature_times(workspace)
    assert len(kept) < len(after) == 13
    assert {name: after[name] for name in kept} == kept


def test_the_ui_shows_a_runs_artifacts_without_requests_to_other_hosts(
    machine: Machine, finished: dict[str, Any], browser: Any
) -> None:
    size = {"width": 1400, "height": 2400, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)  # the UI loads visible cards only
    browser.get_log("performance")
    browser.get(machine.url)
    until("the dashboard is there", lambda: "Flow Runs" in text_of(browser))
    browser.get(f"{machine.url}/runs/flow-run/{finished['id']}")
    (tab,) = until("the tab is there", lambda: browser.find_elements("xpath", ARTIFACTS_TAB))
    tab.click()
    until("the artifacts are on the page", lambda: all(key in text_of(browser) for key in ARTIFACTS))
    assert finished["name"] in text_of(browser)
    assert all(address.startswith(machine.url) for address in requests(browser))


def text_of(browser: Any) -> str:
    """The visible text of the page."""
    return str(browser.execute_script("return document.body.innerText"))


def requests(browser: Any) -> list[str]:
    """The URLs requested since the log was last read."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [each["params"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    return [url for url in (each["request"]["url"] for each in sent) if url.startswith("http")]


@pytest.mark.slow
def test_after_a_worker_was_killed_in_a_stage_the_rerun_completes(
    machine: Machine, finished: dict[str, Any], tmp_path: Path
) -> None:
    workspace, given, _ = begun(machine, tmp_path)
    worker = machine.processes()["worker"]
    for process in [worker, *worker.children(recursive=True)]:  # as a power cut does
        process.kill()
    kept = feature_times(workspace)
    machine.up()
    assert_rerun_resumes(machine, workspace, given, kept)


@pytest.mark.slow
def test_down_stops_a_run_which_reports_its_end_and_resumes(
    machine: Machine, finished: dict[str, Any], tmp_path: Path
) -> None:
    workspace, given, run = begun(machine, tmp_path)
    down = machine.dsanet("down")
    assert "stopped: worker, server" in down.stdout, down.stdout + down.stderr
    assert is_free(workspace)
    kept = feature_times(workspace)
    machine.up()
    (stopped,) = machine.runs(id={"any_": [run["id"]]})
    assert stopped["state_type"] == "CRASHED"
    assert "the run's process has ended" not in stopped["state"]["message"]  # as `up` marks stale runs
    assert_rerun_resumes(machine, workspace, given, kept)


@pytest.mark.slow
def test_a_run_continues_while_its_server_is_down(
    machine: Machine, finished: dict[str, Any], tmp_path: Path
) -> None:
    workspace, given, run = begun(machine, tmp_path)
    machine.processes()["server"].kill()
    kept = feature_times(workspace)
    until("another video is extracted without the server", lambda: len(feature_times(workspace)) > len(kept))
    machine.up()  # the worker and its run are left alone
    completed = {"id": {"any_": [run["id"]]}, "state": {"type": {"any_": ["COMPLETED"]}}}
    until("the run's end is reported", lambda: machine.runs(**completed))
    assert_rerun_resumes(machine, workspace, given, kept)


@pytest.mark.slow
def test_a_command_that_loses_its_server_ends_soon_and_resumes_when_run_again(
    machine: Machine, finished: dict[str, Any], tmp_path: Path
) -> None:
    workspace = tmp_path / "ws"
    words = (*DSANET, *run_arguments(tiny_footage(tmp_path / "footage"), workspace))
    first = machine.begin(*words)
    until("a video is extracted", lambda: feature_times(workspace))
    machine.processes()["server"].kill()
    kept = feature_times(workspace)
    ended = finished_process(first)
    machine.up()
    assert ended.returncode == 2
    assert "does not answer; the run continues without it" in ended.stderr
    assert "finished work is kept, the same command resumes from there" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert (workspace / "report" / "index.html").is_file()
    again = finished_process(machine.begin(*words))
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("(Cached)") == len(STAGES)
    assert kept.items() <= feature_times(workspace).items()


@pytest.mark.slow
def test_a_cancelled_run_stops_within_seconds_and_resumes(
    machine: Machine, finished: dict[str, Any], tmp_path: Path
) -> None:
    workspace, given, run = begun(machine, tmp_path)
    assert machine.prefect("flow-run", "cancel", run["id"]).returncode == 0
    asked = time.monotonic()
    until("the workspace is free", lambda: is_free(workspace))
    assert time.monotonic() - asked < SECONDS_TO_STOP
    cancelled = {"id": {"any_": [run["id"]]}, "state": {"type": {"any_": ["CANCELLED"]}}}
    until("the run is cancelled", lambda: machine.runs(**cancelled))
    kept = feature_times(workspace)
    assert_rerun_resumes(machine, workspace, given, kept)


def is_free(workspace: Path) -> bool:
    """True if no process holds the workspace's lock."""
    try:
        with Workspace(workspace).locked():
            return True
    except BusyError:
        return False
