"""A run's connection to Prefect's server: used while it is there, not waited for when it is gone.

The work itself needs no server. What waits for one by Prefect's own rules is the run's final state.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect.client.orchestration import get_client
from prefect.events.clients import PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

PATIENCE_S = 5.0
log = logging.getLogger(__name__)
_gone: set[str] = set()


def answers(api: str) -> bool:
    """Whether a server answers at `api`, its API's URL, within seconds."""
    with (
        temporary_settings({PREFECT_API_URL: api, PREFECT_CLIENT_MAX_RETRIES: 0}),
        get_client(httpx_settings={"timeout": PATIENCE_S}, sync_client=True) as client,
    ):
        return client.api_healthcheck() is None


def is_there() -> bool:
    """Whether the run's own server answers; a change is logged once."""
    api = PREFECT_API_URL.value()
    if api is None:  # an embedded server lives as long as its run
        return True
    there = answers(api)
    if there and api in _gone:
        _gone.remove(api)
        log.info("Prefect's server is back")
    elif not there and api not in _gone:
        _gone.add(api)
        log.warning("Prefect's server at %s does not answer; the work goes on without it", api)
    return there


@contextmanager
def reported() -> Iterator[None]:
    """Send what `flows` logs from INFO on to the flow run that is under way, where a server's UI shows it."""
    _lose_events_of_a_lost_server()
    flows, handler = logging.getLogger("flows"), APILogHandler(level=logging.INFO)
    level = flows.level
    flows.addHandler(handler)
    flows.setLevel(min(flows.getEffectiveLevel(), logging.INFO))
    try:
        yield
    finally:
        flows.removeHandler(handler)
        flows.setLevel(level)


def _lose_events_of_a_lost_server() -> None:
    """Have one attempt at connecting again for each event instead of ten.

    The interpreter waits at its end for the delivery of all of them: of a dozen, minutes.
    """
    if PREFECT_API_URL.value():
        EventsWorker.set_client_override(PrefectEventsClient, reconnection_attempts=1)
