"""A Prefect server that does not answer is detected within seconds and reported in one line."""

import logging
import socket
import warnings
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli.run_flows import run_stage
from flows.server import connection
from flows.workspace.inputs import configure_workspace
from tests.flows.tiny import tiny_footage


def test_a_command_whose_server_does_not_answer_starts_no_work(absent_server: str, tmp_path: Path) -> None:
    configure_workspace(tmp_path / "ws", tiny_footage(tmp_path / "footage"), preset="small", weights="random")
    with (
        temporary_settings({PREFECT_API_URL: absent_server}),
        pytest.raises(ValueError, match=f"no Prefect server answers at {absent_server}.*dsanet up.*unset"),
    ):
        run_stage("extract", tmp_path / "ws", refresh=False)
    assert not (tmp_path / "ws" / "features").exists()


def test_an_unavailable_server_is_logged_once(absent_server: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="flows.server.connection")
    with temporary_settings({PREFECT_API_URL: absent_server}):
        assert [connection.server_is_available() for _ in range(2)] == [False, False]
    (line,) = caplog.messages
    assert line == f"Prefect's server at {absent_server} does not answer; the run continues without it"


def test_a_server_that_accepts_connections_but_stays_silent_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not connection.server_answers(f"http://127.0.0.1:{silent.getsockname()[1]}/api")


def test_a_line_of_a_thread_that_has_no_run_is_no_warning() -> None:
    with warnings.catch_warnings(record=True) as warned, connection.logs_sent_to_server():
        warnings.simplefilter("always")
        logging.getLogger("flows.workspace").warning("a line")
    assert warned == []
