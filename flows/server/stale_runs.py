"""Runs in state Running whose process has ended without reporting it, for example after a power cut.

Prefect frees such a run's concurrency slot five minutes after its last heartbeat. Marking the run Crashed
releases the slot at once.
"""

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Crashed

from flows.server.processes import running_process

UNFINISHED = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
WORKER_LABEL = "prefect.worker.name"


def mark_stale_runs_crashed(api: str, worker: str) -> int:
    """Mark the unfinished runs of `worker`, a worker of this machine, whose process has ended.

    `api` is the URL of the server's API. Returns the number of runs marked.
    """
    unfinished = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=UNFINISHED)))
    with temporary_settings({PREFECT_API_URL: api}), get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=unfinished)
        stale = [run for run in runs if run.labels.get(WORKER_LABEL) == worker and not _is_running(run)]
        for run in stale:
            message = "the run's process has ended; run it again to resume"
            crashed: State[None] = Crashed(message=message)
            client.set_flow_run_state(run.id, crashed, force=True)
    return len(stale)


def _is_running(run: FlowRun) -> bool:
    state = run.state
    if run.infrastructure_pid is None or state is None:
        return False
    # The process starts before the run's state becomes Running; a pending run has no such time to compare
    # with.
    return (
        running_process(
            int(run.infrastructure_pid),
            lambda created: state.is_pending() or created <= state.timestamp.timestamp(),
        )
        is not None
    )
