"""The needs of an installation: its footage, measured rates, and the formulas of the page on planning.

Every field of the classes is an option of `python -m docs.capacity`.
"""

from math import ceil
from typing import Annotated, Any, Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

DAY_S = 86_400
Stream = Literal[
    "h264-240p", "h265-240p", "h264-720p", "h265-720p", "h264-1080p", "h265-1080p", "h264-2160p", "h265-2160p"
]
STREAMS: dict[Stream, tuple[float, float]] = {
    "h264-240p": (5_704, 7_264),
    "h265-240p": (7_334, 8_272),
    "h264-720p": (683, 1_037),
    "h265-720p": (1_200, 1_424),
    "h264-1080p": (391, 607),
    "h265-1080p": (538, 627),
    "h264-2160p": (81, 106),
    "h265-2160p": (123, 140),
}
"""Frames a second and core, by kind of video: (every frame decoded, as the extraction chooses for files).

Measured by tests/benchmarks/capacity_rates.py on 2026-11-28.
"""


Count = Annotated[int, Field(ge=0, le=10**9)]
Amount = Annotated[float, Field(ge=0, le=1e9)]
Rate = Annotated[float, Field(ge=1e-3, le=1e9)]
"""Bounds that keep every result finite."""


class _Options(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Footage(_Options):
    """The footage that arrives, and its processing."""

    cameras: Count = Field(0, description="cameras that record all the time")
    hours_per_minute: Amount = Field(0.0, description="hours of other video that arrive in a minute")
    stream: Stream = Field("h264-1080p", description="kind of video: " + ", ".join(get_args(Stream)))
    live: bool = Field(True, description="every frame is decoded, as of a live camera; false: files")
    fps: Rate = Field(25.0, description="frames a second")
    mbit: Rate = Field(2.0, description="bit rate of a video, Mb/s")
    minutes: Rate = Field(10.0, description="length of a video, in minutes")
    snippet: int = Field(16, ge=1, le=1024, description="extract.snippet_length")
    pictures: int = Field(1, ge=1, le=1024, description="pictures a snippet, with extract.frame_pick=mean")
    crops: int = Field(1, ge=1, le=1024, description="extract.crops")
    classes: Count = Field(14, description="classes in the score files")
    days: Amount = Field(30.0, description="days for which features, scores and labels are kept")
    video_days: Amount = Field(1.0, description="days for which videos are kept in the object store")


class Rates(_Options):
    """Measured rates; the page names their sources."""

    decode: Rate | None = Field(None, description="frames decoded a second and core; replaces --stream")
    picture_ms: Amount = Field(1.3, description="milliseconds of a core to resize a picture for CLIP")
    clip_gpu: Rate = Field(8_825.0, description="pictures embedded a second by a GPU")
    clip_core: Rate = Field(7.0, description="pictures embedded a second by a core, without GPUs")
    score_gpu: Rate = Field(800_000.0, description="snippets scored a second by a GPU")
    score_core: Rate = Field(9_000.0, description="snippets scored a second by a core, without GPUs")
    requests: Amount = Field(6.0, description="requests to the object store for a video")
    row_kb: Amount = Field(3.7, description="kB in the library for a video")
    collect_ms: Rate = Field(5.0, description="milliseconds of a run's process for a video's features")


class Limits(_Options):
    """One node of the cluster, and one workspace."""

    node_cores: int = Field(16, ge=1, le=10_000, description="cores of a node")
    node_gpus: int = Field(1, ge=0, le=1_000, description="GPUs of a node; 0: CLIP runs on the cores")
    node_gbit: Rate = Field(10.0, description="network of a node, Gb/s")
    utilisation: float = Field(0.5, ge=0.01, le=1, description="share of a machine in use on average")
    library_videos: Rate = Field(1e6, description="most videos in the library of a workspace")
    working_copy_tb: Rate = Field(10.0, description="disk for the files of one workspace, TB")


class Prices(_Options):
    """In the reader's currency; a price that is not given is left out."""

    price_core_hour: Amount | None = Field(None, description="a core for an hour")
    price_gpu_hour: Amount | None = Field(None, description="a GPU for an hour")
    price_tb_month: Amount | None = Field(None, description="a TB in the object store for a month")
    price_million_requests: Amount | None = Field(None, description="a million requests")
    price_tb_traffic: Amount | None = Field(None, description="a TB from the store to the nodes")


class Needs(NamedTuple):
    """The needs of all footage together. Rates are per second; sizes are those after the days kept."""

    streams: float
    frames: float
    pictures: float
    snippets: float
    videos: float
    decode_cores: float
    picture_cores: float
    clip: float
    """GPUs, or cores without them."""
    score: float
    """GPUs, or cores without them."""
    network_gbit: float
    requests: float
    feature_tb: float
    score_tb: float
    video_tb: float
    objects: float
    library_videos: float
    library_gb: float
    collecting: float
    """Share of one process's time."""


class Plan(NamedTuple):
    """Machines and workspaces, and the part of each that is full first."""

    nodes: int
    node_shares: dict[str, float]
    """Nodes that each part alone would fill."""
    workspaces: int
    workspace_shares: dict[str, float]
    """Workspaces that each part alone would fill."""

    @property
    def first_of_nodes(self) -> str:
        return max(self.node_shares, key=self.node_shares.__getitem__)

    @property
    def first_of_workspaces(self) -> str:
        return max(self.workspace_shares, key=self.workspace_shares.__getitem__)


def decode_rate(footage: Footage, rates: Rates) -> float:
    """Frames decoded a second and core."""
    return rates.decode or STREAMS[footage.stream][0 if footage.live else 1]


def needs_of(footage: Footage, rates: Rates, limits: Limits) -> Needs:
    """The formulas of the page."""
    streams = footage.cameras + 60 * footage.hours_per_minute
    frames = streams * footage.fps
    snippets = frames / footage.snippet
    embedded = snippets * footage.pictures
    pictures = embedded * footage.crops
    videos = streams / (60 * footage.minutes)
    snippets_a_video = 60 * footage.minutes * footage.fps / footage.snippet
    feature_bytes = snippets_a_video * (footage.crops * 1_024 + 16) + 11_000
    score_bytes = snippets_a_video * (36 + 4 * footage.classes) + 7_000
    kept, gpus = videos * DAY_S * footage.days, limits.node_gpus > 0
    network = streams * footage.mbit / 1_000
    return Needs(
        streams=streams,
        frames=frames,
        pictures=pictures,
        snippets=snippets,
        videos=videos,
        decode_cores=frames / decode_rate(footage, rates),
        picture_cores=embedded * rates.picture_ms / 1_000,
        clip=pictures / (rates.clip_gpu if gpus else rates.clip_core),
        score=snippets * footage.crops / (rates.score_gpu if gpus else rates.score_core),
        network_gbit=network,
        requests=videos * rates.requests,
        feature_tb=kept * feature_bytes / 1e12,
        score_tb=kept * score_bytes / 1e12,
        video_tb=network * 1e9 / 8 * DAY_S * footage.video_days / 1e12,
        objects=2 * kept + videos * DAY_S * footage.video_days,
        library_videos=kept,
        library_gb=kept * rates.row_kb / 1e6,
        collecting=videos * rates.collect_ms / 1_000,
    )


def plan_of(needs: Needs, limits: Limits) -> Plan:
    """Nodes and workspaces for these needs."""
    decoding = needs.decode_cores + needs.picture_cores
    cores, gpus = limits.node_cores * limits.utilisation, limits.node_gpus * limits.utilisation
    nodes = {"network": needs.network_gbit / (limits.node_gbit * limits.utilisation)}
    if gpus:
        nodes |= {"decoding": decoding / cores, "GPUs": (needs.clip + needs.score) / gpus}
    else:
        nodes |= {"cores (decoding and CLIP)": (decoding + needs.clip + needs.score) / cores}
    workspaces = {
        "library": needs.library_videos / limits.library_videos,
        "collecting process": needs.collecting / limits.utilisation,
        "disk of the workspace": (needs.feature_tb + needs.score_tb) / limits.working_copy_tb,
    }
    return Plan(_at_least_one(nodes), nodes, _at_least_one(workspaces), workspaces)


def _at_least_one(shares: dict[str, float]) -> int:
    return max(1, ceil(max(shares.values())))


def costs_of(needs: Needs, plan: Plan, limits: Limits, prices: Prices) -> dict[str, float]:
    """Cost of a month of 30 days, by part; only parts whose price is given."""
    hours, month_s = 30 * 24, 30 * DAY_S
    amounts: dict[str, tuple[float, float | None]] = {
        "cores": (plan.nodes * limits.node_cores * hours, prices.price_core_hour),
        "GPUs": (plan.nodes * limits.node_gpus * hours, prices.price_gpu_hour),
        "store": (needs.feature_tb + needs.score_tb + needs.video_tb, prices.price_tb_month),
        "requests": (needs.requests * month_s / 1e6, prices.price_million_requests),
        "traffic": (needs.network_gbit * 1e9 / 8 * month_s / 1e12, prices.price_tb_traffic),
    }
    return {part: amount * price for part, (amount, price) in amounts.items() if price is not None}


def cost_class(share: float) -> str:
    """Class of a part by its share of the whole cost."""
    return "expensive" if share >= 0.5 else "medium" if share >= 0.1 else "cheap"


def as_json(*parts: BaseModel) -> dict[str, Any]:
    """All options with their values."""
    return {name: value for part in parts for name, value in part.model_dump().items()}
