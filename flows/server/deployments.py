"""The deployments as `prefect.yaml` declares them, for what reads that file beside `prefect deploy`."""

import importlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow, get_client
from prefect.client.schemas.objects import ConcurrencyLimitConfig
from prefect.deployments.runner import RunnerDeployment
from prefect.schedules import Cron, Interval, Schedule
from pydantic import BaseModel, ConfigDict

DECLARED_IN = Path(__file__).parents[2] / "prefect.yaml"


class DeclaredSchedule(BaseModel):
    """One of `cron` and `interval` (seconds), under a name of its own."""

    model_config = ConfigDict(extra="forbid")

    slug: str
    cron: str | None = None
    interval: float | None = None
    anchor_date: datetime | None = None
    active: str

    def schedule(self, active: bool) -> Schedule:
        if self.cron is not None:
            return Cron(self.cron, slug=self.slug, active=active)
        assert self.interval is not None
        return Interval(self.interval, anchor_date=self.anchor_date, slug=self.slug, active=active)


class Declared(BaseModel):
    """One deployment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    entrypoint: str
    description: str
    tags: list[str]
    concurrency_limit: ConcurrencyLimitConfig
    work_pool: dict[str, str]
    schedules: list[DeclaredSchedule] = []

    @property
    def flow(self) -> Flow[..., Any]:
        """The flow that `entrypoint` (`flows/pipeline/flows.py:extract`) names."""
        path, _, function = self.entrypoint.partition(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        found = getattr(module, function)
        assert isinstance(found, Flow)
        return found


def declared() -> list[Declared]:
    """Every deployment of `prefect.yaml`. Raises FileNotFoundError outside of a checkout of the project."""
    if not DECLARED_IN.is_file():
        raise FileNotFoundError(f"no {DECLARED_IN}; deployments are made from a checkout of the project")
    entries: Iterable[Any] = yaml.safe_load(DECLARED_IN.read_text())["deployments"]
    return [Declared.model_validate(entry) for entry in entries]


def switched_on() -> dict[str, dict[str, bool]]:
    """Whether each schedule is on, by flow and slug: as the server has it, off where it has none.

    Deploying with these values, as `prefect.yaml` does, leaves alone what somebody switched on or off.
    """
    states = {entry.flow.name: {one.slug: False for one in entry.schedules} for entry in declared()}
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            flow = client.read_flow(deployment.flow_id)
            for schedule in deployment.schedules:
                if schedule.slug in states.get(flow.name, {}):
                    states[flow.name][schedule.slug] = schedule.active
    return states


def to_serve() -> list[RunnerDeployment]:
    """The deployments for a process that serves them itself, without a work pool."""
    on = switched_on()
    return [_deployment(entry, on[entry.flow.name]) for entry in declared()]


def _deployment(entry: Declared, on: Mapping[str, bool]) -> RunnerDeployment:
    made = entry.flow.to_deployment(
        name=entry.name,
        description=entry.description,
        tags=entry.tags,
        concurrency_limit=entry.concurrency_limit,
        schedules=[one.schedule(on[one.slug]) for one in entry.schedules],
    )
    assert isinstance(made, RunnerDeployment)  # its other type is that of asynchronous callers
    return made
