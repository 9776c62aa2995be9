"""Progress artifacts: sent from a thread of their own, a server that does not answer costs no time."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect import flow, get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, temporary_settings

import flows.pipeline.prefect_flows  # noqa: F401 - the embedded server is ours
from flows.pipeline import artifacts
from flows.pipeline.artifacts import progress_artifact


@pytest.fixture
def silent_server() -> Iterator[str]:
    """API URL of a server that takes connections and never answers, as behind a firewall."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield f"http://127.0.0.1:{silent.getsockname()[1]}/api"


def test_updates_to_a_silent_server_cost_no_time(silent_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "SECONDS_BETWEEN_UPDATES", 0.0)
    monkeypatch.setattr(artifacts, "LAST_UPDATE_TIMEOUT_S", 0.5)

    @flow
    def computing() -> tuple[float, float]:
        with temporary_settings({PREFECT_API_URL: silent_server}):
            began = time.monotonic()
            with progress_artifact("silent") as record:
                for percent in range(101):
                    record(percent, f"{percent} of 100")
                    time.sleep(0.001)
                computed = time.monotonic()
            return computed - began, time.monotonic() - computed

    while_computing, at_the_end = computing()
    assert while_computing < 1
    assert at_the_end < 1


def test_the_last_progress_arrives_at_the_end(tmp_path: Path) -> None:
    @flow
    def computing() -> object:
        with progress_artifact("real") as record:
            for done in range(50):
                record(2.0 * done, f"{done} of 50")
            time.sleep(0.5)
            record(100.0, "50 of 50")
        return flow_run.id

    run = computing()
    with get_client(sync_client=True) as client:
        of_run = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[run]))
        (artifact,) = client.read_artifacts(artifact_filter=of_run)
    assert (artifact.key, artifact.data, artifact.description) == ("real-progress", 100.0, "50 of 50")
