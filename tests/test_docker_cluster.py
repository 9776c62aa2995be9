"""Checks of the cluster's container files that need no container engine, and of the programs in them."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from tests.docs.test_commands import accept_ray
from tests.object_store import S3Server
from tests.postgres import PostgresServer
from tests.test_docker import COMPOSE, DOCKER, PROJECT, SERVICES, run

CLUSTER = yaml.safe_load((DOCKER / "compose.cluster.yaml").read_text())
OVERLAY: dict[str, dict[str, Any]] = CLUSTER["services"]
ADDED = {name: service for name, service in OVERLAY.items() if name not in SERVICES}
GPU = yaml.safe_load((DOCKER / "compose.cluster.gpu.yaml").read_text())["services"]
ENDS = {"prepare"}


def options_of(service: dict[str, Any]) -> list[str]:
    """The command of a service, with the defaults of its variables."""
    return [re.sub(r"\$\{\w+:-(.*?)\}", r"\1", word) for word in service["command"]]


@pytest.mark.parametrize("name", ADDED)
def test_an_added_service_is_confined_and_has_a_health_check(name: str) -> None:
    service = ADDED[name]
    assert service["image"] == SERVICES["server"]["image"]
    assert service["pull_policy"] == "never"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "ports" not in service
    assert not service.get("privileged")
    assert service["healthcheck"].get("test") or (name in ENDS and service["healthcheck"]["disable"])


@pytest.mark.parametrize("name", OVERLAY)
def test_a_service_waits_for_its_dependencies(name: str) -> None:
    for needed, how in OVERLAY[name].get("depends_on", {}).items():
        assert needed in {*SERVICES, *OVERLAY}
        ready = "service_completed_successfully" if needed in ENDS else "service_healthy"
        assert how == {"condition": ready}


def test_secrets_are_files_that_each_service_has() -> None:
    known = {**COMPOSE["secrets"], **CLUSTER["secrets"]}
    assert all(set(secret) == {"file"} for secret in known.values())
    for name, service in OVERLAY.items():
        secrets = set(service.get("secrets", []))
        assert secrets <= set(known)
        for variable, value in service.get("environment", {}).items():
            assert not re.search(r"(PASSWORD|SECRET|TOKEN|ACCESS_KEY|CONNECTION_URL)$", variable)
            if str(value).startswith("/run/secrets/"):
                assert Path(value).name in secrets, name
    assert {
        variable
        for service in OVERLAY.values()
        for variable, value in service.get("environment", {}).items()
        if str(value).startswith("/run/secrets/")
    } == {"AWS_SHARED_CREDENTIALS_FILE", "PGPASSWORD_FILE", "RAY_AUTH_TOKEN_PATH"}


@pytest.mark.parametrize("name", ["ray-head", "ray-worker", "worker"])
def test_every_node_asks_for_the_token_and_reports_to_nobody(name: str) -> None:
    environment = OVERLAY[name]["environment"]
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_USAGE_STATS_ENABLED"] == 0


def test_the_commands_of_the_nodes_are_accepted_by_ray() -> None:
    commands = [options_of(OVERLAY[name]) for name in ("ray-head", "ray-worker")]
    commands += [OVERLAY[name]["healthcheck"]["test"][1:] for name in ("ray-head", "ray-worker")]
    for program, *words in commands:
        assert program == "ray"
        accept_ray(words)


def test_nodes_and_runs_see_the_same_store_and_footage() -> None:
    worker, node = OVERLAY["worker"], OVERLAY["ray-worker"]
    store = {name: value for name, value in node["environment"].items() if name.startswith(("AWS", "DSANET"))}
    assert store
    assert store.items() <= worker["environment"].items()
    assert node["volumes"][0] in SERVICES["worker"]["volumes"]


def test_the_worker_runs_the_command_of_the_image_beside_its_node() -> None:
    _, script, head, *rest = OVERLAY["worker"]["command"]
    assert (PROJECT / script).is_file()
    assert head == OVERLAY["ray-worker"]["command"][3].removeprefix("--address=")
    image = re.findall(
        r'"([^"]+)"', re.sub(r"\\\n\s*", "", (DOCKER / "Dockerfile").read_text()).split("CMD")[1]
    )
    words = [word.removeprefix("/opt/dsanet/") for word in image if word != "[" and "HEALTH" not in word]
    assert [part for word in rest for part in word.split("=")] == words


def test_the_cluster_with_gpus_uses_the_image_that_compose_gpu_builds() -> None:
    built = yaml.safe_load((DOCKER / "compose.gpu.yaml").read_text())["services"]["worker"]
    assert set(GPU) == {"ray-worker"}
    assert GPU["ray-worker"]["image"] == built["image"]
    assert GPU["ray-worker"]["deploy"] == built["deploy"]


def test_the_image_has_the_packages_of_the_cluster() -> None:
    extras = (PROJECT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    of = {
        name: re.findall(r'"([^"]+)"', line) for name, line in re.findall(r"^(\w+) = (\[.*\])", extras, re.M)
    }
    assert {*of["ray"], *of["s3"]} <= set(of["dev"])  # `make setup` installs `dev`


@pytest.fixture
def ray_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program `ray` in PATH that notes its starts and its end, and ends when the file `lost` appears."""
    program = tmp_path / "ray"
    program.write_text(
        f"#!/bin/sh\ntrap 'touch {tmp_path}/left; exit 0' TERM\necho \"$@\" >> {tmp_path}/joined\n"
        f"while ! rm {tmp_path}/lost 2>/dev/null; do sleep 0.05; done\nexit 1\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def beside_a_node(*command: str) -> subprocess.Popen[str]:
    words = [sys.executable, str(DOCKER / "with_ray_node.py"), "head:6379", *command]
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def test_the_node_takes_no_tasks_and_leaves_with_the_program(ray_program: Path) -> None:
    with beside_a_node(
        "sh", "-c", f"while [ ! -s {ray_program}/joined ]; do sleep 0.05; done; exit 7"
    ) as run:
        assert run.wait(30) == 7
    assert (ray_program / "left").exists()
    accept_ray((ray_program / "joined").read_text().split())
    assert {"--num-cpus=0", "--num-gpus=0", "--block"} < set((ray_program / "joined").read_text().split())


@pytest.mark.slow
def test_a_lost_node_joins_again_and_the_program_goes_on(ray_program: Path) -> None:
    starts = ray_program / "joined"
    with beside_a_node("sh", "-c", f"while [ ! -e {ray_program}/enough ]; do sleep 0.05; done") as run:
        wait_for(starts)
        (ray_program / "lost").touch()
        deadline = time.monotonic() + 30
        while len(starts.read_text().splitlines()) < 2 and time.monotonic() < deadline:
            assert run.poll() is None
            time.sleep(0.05)
        (ray_program / "enough").touch()
        assert run.wait(30) == 0
        assert run.stderr is not None
        assert run.stderr.read().count("no node of the Ray cluster at head:6379; trying again") == 1
    assert len(starts.read_text().splitlines()) == 2


def test_a_stop_ends_the_program_before_its_node(ray_program: Path) -> None:
    program = (
        f"trap '[ -e {ray_program}/left ] || touch {ray_program}/first; exit' TERM; touch {ray_program}/up"
    )
    with beside_a_node("sh", "-c", f"{program}; while :; do sleep 0.05; done") as run:
        wait_for(ray_program / "joined")
        wait_for(ray_program / "up")
        run.send_signal(signal.SIGTERM)
        run.wait(30)
    assert (ray_program / "first").exists()
    assert (ray_program / "left").exists()


def test_database_and_bucket_are_made_once(postgres: PostgresServer, s3: S3Server) -> None:
    database = f"postgres@127.0.0.1:{postgres.port}/library_of_a_cluster"
    given = {
        "DSANET_LIBRARY_URL": f"postgresql://{database}",
        "DSANET_WORKSPACE": "s3://made-for-a-cluster/workspace",
        "PGPASSWORD": postgres.password,
        **s3.environment,
    }
    first, second = (run(DOCKER / "prepare_cluster.py", **given) for _ in range(2))
    assert first.stdout.count("made") == 3, first.stderr  # the bucket's name has one
    assert second.stdout.count("there") == 2, second.stderr
    psycopg.connect(postgres.url("library_of_a_cluster")).close()
