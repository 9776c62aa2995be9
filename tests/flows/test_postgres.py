"""The flow with a Prefect server on a real PostgreSQL database, each in a separate process.

The server starts as in `docker/compose.yaml`: by the containers' entry point, with the password in a file.
"""

import os
import subprocess
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from tests.flows.commands import DSANET
from tests.flows.tiny import run_arguments, tiny_footage
from tests.postgres import USER, PostgresServer
from tests.prefect_server import running_server

ENTRYPOINT = Path(__file__).parents[2] / "docker" / "entrypoint.py"
STAGES = ["evaluate", "extract", "infer", "train"]


def dsanet_run(manifest: Path, out: Path, api: str) -> str:
    """Run `dsanet run`; returns its output. Raises AssertionError with the output if it fails."""
    command = [*DSANET, *run_arguments(manifest, out)]
    environment = {**os.environ, "PREFECT_API_URL": api}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_run_and_its_rerun_on_a_server_with_postgresql(postgres: PostgresServer, tmp_path: Path) -> None:
    manifest = tiny_footage(tmp_path / "footage")
    database = postgres.new_database()
    (tmp_path / "password").write_text(f"{postgres.password}\n")
    settings = {
        "DRIVER": "postgresql+asyncpg",
        "HOST": "127.0.0.1",
        "PORT": str(postgres.port),
        "USER": USER,
        "NAME": make_url(database).database,
        "PASSWORD_FILE": str(tmp_path / "password"),
    }
    variables = {f"PREFECT_SERVER_DATABASE_{name}": value for name, value in settings.items()}
    with running_server(tmp_path / "server", entrypoint=ENTRYPOINT, **variables) as api:
        first = dsanet_run(manifest, tmp_path / "ws", api)
        again = dsanet_run(manifest, tmp_path / "ws", api)
    assert "(Cached)" not in first
    assert again.count("(Cached)") == 4
    assert (tmp_path / "ws" / "report" / "index.html").is_file()
    with psycopg.connect(database) as connection:  # the server's records
        flows = connection.execute("SELECT state_type::text FROM flow_run").fetchall()
        tasks = connection.execute(
            "SELECT split_part(name, '-', 1), count(*) FROM task_run GROUP BY 1 ORDER BY 1"
        ).fetchall()
    assert flows == [("COMPLETED",)] * 2
    assert tasks == [(stage, 2) for stage in STAGES]
