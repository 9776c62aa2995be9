"""Settings of retraining: inboxes, when a challenger is trained, the gate, and the drift warning."""

from typing import Annotated, Literal
from urllib.parse import parse_qsl

from pydantic import Field, field_validator

from extract.config import StrictModel
from extract.errors import InputError
from flows.workspace.path_field import PathField

Figure = Literal[
    "auc", "ap", "anomaly_auc", "map_corrected", "map_published", "video_auc", "video_ap",
    "events_at_0.1", "events_at_1", "events_at_10",
]  # fmt: skip
"""Figures that the gate can compare: higher is better for each, and none depends on a chosen threshold."""


class GateConfig(StrictModel):
    """The promotion rule: how much worse than the champion a promoted challenger may be on the test split."""

    margins: dict[Figure, Annotated[float, Field(ge=0, le=1)]] = Field(
        {"auc": 0.005, "map_corrected": 0.01},
        min_length=1,
        description="how much lower than the champion's each figure may be, as a fraction (mAP too); "
        "promotion needs all of them",
    )
    quantile: float = Field(
        0.5,
        gt=0,
        le=0.5,
        description="quantile of the paired bootstrap differences that must be at least -margin: 0.5 is the "
        "median, 0.05 demands near certainty (rarely reached with a few hundred test videos)",
    )
    resamples: int = Field(1000, ge=1, le=100_000, description="bootstrap resamples of the test videos")
    seed: int = Field(0, ge=0, description="seed of the bootstrap")


class DriftConfig(StrictModel):
    """When the difference between new footage and the champion's training videos causes a warning."""

    distance: float = Field(
        0.3,
        gt=0,
        le=1,
        description="least Kolmogorov-Smirnov distance of the two distributions for a warning",
    )
    significance: float = Field(
        0.01, gt=0, lt=1, description="p-value threshold of the two-sample test; a warning needs both"
    )


class RetrainConfig(StrictModel):
    """Settings of the flow `retrain-on-new-footage`."""

    inboxes: tuple[PathField, ...] = Field(
        (), description="folders, or addresses in an object store, that are scanned for new footage"
    )
    settle_s: float = Field(60, ge=0, description="seconds since a file's last change before it is taken")
    min_new_labels: int = Field(
        10, ge=1, description="newly labelled videos since the champion's training that start a challenger"
    )
    library: str = Field(
        "",
        description="database URL of the library; empty: DSANET_LIBRARY_URL, or library.db in the workspace",
    )
    gate: GateConfig = GateConfig()
    drift: DriftConfig = DriftConfig()

    @field_validator("library")
    @classmethod
    def _refuse_password(cls, url: str) -> str:
        in_address = "@" in url and ":" in url.rpartition("@")[0].partition("//")[2]
        in_option = any("password" in name for name, _ in parse_qsl(url.partition("?")[2]))
        if in_address or in_option:
            raise InputError(
                "the URL has a password, which settings must not contain; set DSANET_LIBRARY_URL"
            )
        return url
