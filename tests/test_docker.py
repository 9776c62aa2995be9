"""Checks of the container files that need no container engine."""

import http.server
import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

PROJECT = Path(__file__).parents[1]
DOCKER = PROJECT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text())


def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    return subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True)


def stage(name: str) -> str:
    """The text of a stage of the Dockerfile, preceded by the stages that it builds on."""
    found = re.search(rf"^FROM (\S+) AS {name}\n(.*?)(?=^FROM|\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL)
    if found is None:
        return f"FROM {name}\n"
    return stage(found[1]) + found[2]


@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_images_are_built_by_make_setup_without_root_and_have_a_health_check(target: str) -> None:
    steps = stage(target)
    assert re.match(r"FROM python:\d+\.\d+\.\d+-slim-\w+\n", steps)  # pinned
    user, setup = steps.index("USER 1000"), steps.index("make setup")
    assert user < setup
    assert "USER root" not in steps
    assert re.search(r"^HEALTHCHECK .*healthy\.py", steps, re.MULTILINE)
    assert setup < steps.index("COPY . .")  # editing the code does not rebuild the dependencies
    assert "constraints.txt" in steps[:setup]


def test_the_images_contain_what_they_run_and_use_the_work_pool_of_prefect_yaml() -> None:
    allowed = [line[1:] for line in (PROJECT / ".dockerignore").read_text().splitlines() if line[:1] == "!"]
    assert {"dsanet", "evaluate", "extract", "flows", "prefect.yaml", "docker/*.py"} <= set(allowed)
    assert all(list(PROJECT.glob(pattern)) for pattern in allowed)
    for script in re.findall(r"/opt/dsanet/(docker/\w+\.py)", DOCKERFILE):
        assert (PROJECT / script).is_file()
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    words = json.loads(command)
    pool = yaml.safe_load((PROJECT / "prefect.yaml").read_text())["definitions"]["work_pool"]["name"]
    assert words[words.index("--pool") + 1] == pool


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_has_a_health_check_and_waits_for_its_dependencies(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"\S+:(?!latest)\S+", service["image"])
    assert "healthcheck" in service or name == "worker"  # its image has one
    for needed, how in service.get("depends_on", {}).items():
        assert needed in SERVICES
        assert how == {"condition": "service_healthy"}
    for port in service.get("ports", []):
        assert port.startswith("${DSANET_BIND:-127.0.0.1}:")
    for variable in service.get("environment", {}):
        assert not re.search(r"(PASSWORD|SECRET|TOKEN|CONNECTION_URL)$", variable)  # secrets: ..._FILE
    assert not service.get("privileged")
    assert "network_mode" not in service


def test_secrets_are_files_and_footage_is_read_only() -> None:
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if name.endswith("_FILE"):
                assert Path(value).name in service["secrets"]
    assert any(volume.endswith(":/footage:ro") for volume in SERVICES["worker"]["volumes"])
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    assert set(gpu) <= set(SERVICES)


def test_links_use_the_address_at_which_the_server_is_published() -> None:
    (port,) = SERVICES["server"]["ports"]
    clients = [service["environment"] for service in SERVICES.values() if "PREFECT_API_URL" in str(service)]
    assert len(clients) == 2
    for environment in clients:
        assert port == f"{environment['PREFECT_UI_URL'].removeprefix('http://')}:4200"


@pytest.mark.parametrize("file", ["compose.yaml", "compose.gpu.yaml", "../docs/scheduled-runs.md"])
def test_no_documented_start_command_waits_for_the_service_that_ends(file: str) -> None:
    ends = [name for name, service in SERVICES.items() if str(service["restart"]).startswith("on-failure")]
    assert ends == ["deploy"]
    started = re.findall(r"docker compose .* up (.*?)[`\n]", (DOCKER / file).read_text() + "\n")
    assert started
    assert all("--wait" not in options for options in started)  # it reports a service that ends as a failure


def test_starting_again_keeps_the_running_images() -> None:
    gpu = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]
    services = {**SERVICES, **{f"{name} with a GPU": service for name, service in gpu.items()}}
    built = [service["image"] for service in services.values() if "build" in service]
    # One service builds each image: Compose labels an image with the service, so two would build it twice.
    assert sorted(built) == ["dsanet:cpu", "dsanet:cuda"]
    for name, service in SERVICES.items():
        assert (service["image"] in built) == (service.get("pull_policy") == "never"), name


@pytest.mark.parametrize("file", sorted(path.name for path in DOCKER.glob("compose*.yaml")))
def test_compose_files_satisfy_the_compose_specification(file: str) -> None:
    if importlib.util.find_spec("check_jsonschema") is None:
        pytest.skip("check-jsonschema is not installed")
    checked = run("-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / file)
    assert checked.returncode == 0, checked.stdout


def test_hadolint_accepts_the_dockerfile() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    linted = subprocess.run([linter, DOCKER / "Dockerfile"], capture_output=True, text=True)
    assert linted.returncode == 0, linted.stdout


@pytest.mark.parametrize("name", [n for n, service in SERVICES.items() if service.get("command")])
def test_prefect_has_the_command_and_options_of_every_service(name: str) -> None:
    program, *words = SERVICES[name]["command"]
    assert program == "prefect"
    shown = run("-m", "prefect", *words, "--help")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    for option in words:
        assert not option.startswith("--") or option in shown.stdout


SHOW = "import os; print(os.environ['PREFECT_SERVER_DATABASE_PASSWORD'])"


def test_the_entrypoint_reads_secrets_with_any_characters_from_files(tmp_path: Path) -> None:
    secret = "a b'c\"$(touch x)`;@:/%"
    (tmp_path / "secret").write_text(f"{secret}\n")
    path = {"PREFECT_SERVER_DATABASE_PASSWORD_FILE": str(tmp_path / "secret")}
    assert run(DOCKER / "entrypoint.py", sys.executable, "-c", SHOW, **path).stdout == f"{secret}\n"
    kept = dict.fromkeys(("AWS_SHARED_CREDENTIALS_FILE", "PGPASSWORD_FILE"), str(tmp_path / "secret"))
    show = "import os; print(os.environ['PGPASSWORD'], 'AWS_SHARED_CREDENTIALS' in os.environ)"
    shown = run(DOCKER / "entrypoint.py", sys.executable, "-c", show, **kept)
    assert shown.stdout == f"{secret} False\n"
    (tmp_path / "secret").unlink()
    refused = run(DOCKER / "entrypoint.py", sys.executable, "-c", SHOW, **path)
    assert refused.returncode == 1
    assert refused.stderr.startswith("cannot read a secret")
    assert len(refused.stderr.splitlines()) == 1


CHILD = """
import pathlib, signal, sys, time
def end(*_):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1], "ended").touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1], "began").touch()
time.sleep(60)
"""
PARENT = """
import signal, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], start_new_session=True)
signal.signal(signal.SIGTERM, lambda *_: (child.kill(), sys.exit()))
child.wait()
signal.pause()
"""


def test_a_stopped_worker_waits_for_its_runs_to_end(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PARENT, CHILD, tmp_path]
    with subprocess.Popen([sys.executable, DOCKER / "stop_in_order.py", *words]) as stopped:
        deadline = time.monotonic() + 30
        while not (tmp_path / "began").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        stopped.terminate()
        stopped.wait(timeout=30)
    assert (tmp_path / "ended").exists()
    assert json.loads(re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)[0])[1].endswith(
        "stop_in_order.py"
    )


@pytest.fixture
def answering() -> Iterator[str]:
    """A server that answers /health with 200 and any other path with 503."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/health" else 503)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_health_check_depends_on_the_status_of_the_answer(answering: str) -> None:
    assert run(DOCKER / "healthy.py", f"{answering}/health").returncode == 0
    assert run(DOCKER / "healthy.py", f"{answering}/ready").returncode == 1
    assert run(DOCKER / "healthy.py", "http://127.0.0.1:9/health").returncode == 1
