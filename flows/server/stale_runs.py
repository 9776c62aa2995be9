"""Runs that the server takes for running though their process is gone, as after a loss of power.

Prefect frees a deployment's place in its queue five minutes after such a run's last sign of life. Called
dead, a run frees it at once.
"""

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

UNDER_WAY = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
WORKER_LABEL = "prefect.worker.name"


def give_up_dead_runs(api: str, worker: str) -> int:
    """Tell the server which runs of `worker`, which was this machine's, are dead; returns how many."""
    under_way = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNDER_WAY)))
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=under_way)
        dead = [run for run in runs if run.labels.get(WORKER_LABEL) == worker and not _lives(run)]
        for run in dead:
            gone: State[None] = Crashed(message="its process is gone; run it again, it goes on from there")
            client.set_flow_run_state(run.id, gone, force=True)
    return len(dead)


def _lives(run: FlowRun) -> bool:
    """Whether the run's process is there; a later process of the same number is another one."""
    if run.infrastructure_pid is None or run.state is None:
        return False
    try:
        process = psutil.Process(int(run.infrastructure_pid))
        began, ended = process.create_time(), process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
    return not ended and (run.state.is_pending() or began <= run.state.timestamp.timestamp())
