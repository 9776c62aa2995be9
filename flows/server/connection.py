"""The connection of a run to Prefect's server. A run does its work without the server as well as with it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

TIMEOUT_S = 5.0
log = logging.getLogger(__name__)
_unavailable: set[str] = set()


def server_answers(api: str) -> bool:
    """True if a Prefect server answers at `api`, the URL of its API, within TIMEOUT_S seconds."""
    with (
        temporary_settings({PREFECT_API_URL: api, PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": TIMEOUT_S}, sync_client=True) as client,
    ):
        return client.api_healthcheck() is None


def server_is_available() -> bool:
    """True if the server of the current run answers. Each change is logged once."""
    api = PREFECT_API_URL.value()
    if api is None:  # the embedded server lives as long as its run
        return True
    available = server_answers(api)
    if available and api in _unavailable:
        _unavailable.remove(api)
        log.info("Prefect's server at %s answers again", api)
    elif not available and api not in _unavailable:
        _unavailable.add(api)
        log.warning("Prefect's server at %s does not answer; the run continues without it", api)
    return available


@contextmanager
def logs_sent_to_server() -> Iterator[None]:
    """Send the log of `flows`, from INFO on, to the current flow run; Prefect's UI shows it there."""
    _limit_event_reconnects()
    flows, handler = logging.getLogger("flows"), APILogHandler(level=logging.INFO)
    level = flows.level
    flows.addHandler(handler)
    flows.setLevel(min(flows.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        flows.removeHandler(handler)
        flows.setLevel(level)


def _limit_event_reconnects() -> None:
    """Limit reconnects to one per event.

    The interpreter waits at exit until every event is delivered or given up. With the default of ten
    reconnects and a server that does not answer, a dozen events take minutes.
    """
    if PREFECT_API_URL.value():
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=1)
