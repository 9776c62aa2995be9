"""The deployments declared in `prefect.yaml`, for `dsanet up`, `flows.server.serve` and its build step."""

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

from extract.errors import MissingFileError

PREFECT_YAML = Path(__file__).parents[2] / "prefect.yaml"


class DeclaredSchedule(BaseModel):
    """One schedule of a deployment: `cron` or `interval` (seconds), named by `slug`."""

    model_config = ConfigDict(extra="forbid")

    slug: str
    cron: str | None = None
    interval: float | None = None
    anchor_date: datetime | None = None
    active: str
    """Template that the build step `active_schedules` fills in."""

    def schedule(self, *, active: bool) -> Schedule:
        if self.cron is not None:
            return Cron(self.cron, slug=self.slug, active=active)
        assert self.interval is not None
        return Interval(self.interval, anchor_date=self.anchor_date, slug=self.slug, active=active)


class DeclaredDeployment(BaseModel):
    """One entry of `deployments`."""

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
        """The flow named by `entrypoint`, for example `flows/pipeline/prefect_flows.py:extract`."""
        path, _, function = self.entrypoint.partition(":")
        module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
        found = getattr(module, function)
        assert isinstance(found, Flow)
        return found


def declared_deployments() -> list[DeclaredDeployment]:
    """Every deployment of `prefect.yaml`. Raises FileNotFoundError outside a checkout of the project."""
    if not PREFECT_YAML.is_file():
        raise MissingFileError(f"no {PREFECT_YAML}; deployments need a checkout of the project (git clone)")
    entries: Iterable[Any] = yaml.safe_load(PREFECT_YAML.read_text())["deployments"]
    return [DeclaredDeployment.model_validate(entry) for entry in entries]


def active_schedules() -> dict[str, dict[str, bool]]:
    """The schedules by flow name and slug: True if active on the server, False if paused or new.

    `prefect.yaml` deploys with these values, so that a deployment keeps the schedules that were switched on.
    """
    states = {
        entry.flow.name: {schedule.slug: False for schedule in entry.schedules}
        for entry in declared_deployments()
    }
    with get_client(sync_client=True) as client:
        for deployment in client.read_deployments():
            flow = client.read_flow(deployment.flow_id)
            for schedule in deployment.schedules:
                if schedule.slug in states.get(flow.name, {}):
                    states[flow.name][schedule.slug] = schedule.active
    return states


def served_deployments() -> list[RunnerDeployment]:
    """The declared deployments in the form that `prefect.serve` takes."""
    active = active_schedules()
    return [_served(entry, active[entry.flow.name]) for entry in declared_deployments()]


def _served(entry: DeclaredDeployment, active: Mapping[str, bool]) -> RunnerDeployment:
    deployment = entry.flow.to_deployment(
        name=entry.name,
        description=entry.description,
        tags=entry.tags,
        concurrency_limit=entry.concurrency_limit,
        schedules=[schedule.schedule(active=active[schedule.slug]) for schedule in entry.schedules],
    )
    assert isinstance(deployment, RunnerDeployment)  # the declared type covers asynchronous callers too
    return deployment
