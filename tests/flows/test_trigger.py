"""`dsanet trigger`: parameters from the command line, and errors in one line."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.cli.server import parse_parameters
from flows.server import services
from flows.server.trigger import trigger


def test_assignments_become_nested_parameters(tmp_path: Path) -> None:
    given = ["refresh=train", "config.preset=small", "config.train.epochs=3", "source.title=Two words"]
    assert parse_parameters(tmp_path, given) == {
        "workspace": str(tmp_path),
        "refresh": "train",
        "config": {"preset": "small", "train": {"epochs": 3}},
        "source": {"title": "Two words"},
    }
    assert parse_parameters(None, []) == {}


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (["refresh"], "'refresh' has no value"),
        (["config=1", "config.preset=small"], "parameter config is given twice"),
        (["config.preset=small", 'config={"train": {}}'], "parameter config is given twice"),
        (["refresh=train", "refresh=infer"], "parameter refresh is given twice"),
    ],
)
def test_an_invalid_assignment_is_refused(given: list[str], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_parameters(None, given)


def test_without_a_known_server_the_error_names_dsanet_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "read_services", lambda: None)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ValueError, match="no Prefect server is known; start one with `dsanet up`"),
    ):
        trigger("train", {}, watch=False, echo=print)


def test_a_server_that_does_not_answer_is_named_in_the_error(absent_server: str) -> None:
    with (
        temporary_settings({PREFECT_API_URL: absent_server}),
        pytest.raises(ValueError, match=f"no Prefect server answers at {absent_server}.*dsanet up"),
    ):
        trigger("train", {}, watch=False, echo=print)
