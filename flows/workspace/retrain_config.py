"""What a retraining may vary: when it begins, what it asks of a challenger, when footage counts as other."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from extract.config import StrictModel

Figure = Literal["auc", "ap", "anomaly_auc", "map_corrected", "map_published", "video_auc", "video_ap"]
"""What a challenger may be measured by: all are better the higher, and none depends on a threshold."""


class GateConfig(StrictModel):
    """How much worse than the champion a challenger may be on the test split, and still take its place."""

    margins: dict[Figure, Annotated[float, Field(ge=0, le=1)]] = Field(
        {"auc": 0.005, "map_corrected": 0.01},
        min_length=1,
        description="figure: by how much it may be lower (fractions, mAP too); all of them must hold",
    )
    quantile: float = Field(
        0.5,
        gt=0,
        le=0.5,
        description="of the bootstrap's paired differences, which must not be below -margin: 0.5 is the "
        "middle, 0.05 asks for proof (on a few hundred test videos hardly a challenger has it)",
    )
    resamples: int = Field(1000, ge=1, le=100_000, description="of the bootstrap over test videos")
    seed: int = Field(0, ge=0, description="of the bootstrap")


class DriftConfig(StrictModel):
    """When the new footage counts as other than what the champion was trained on."""

    distance: float = Field(
        0.3,
        gt=0,
        le=1,
        description="of the two distributions (Kolmogorov-Smirnov), from which it is worth a warning",
    )
    significance: float = Field(
        0.01, gt=0, lt=1, description="and chance makes such a distance more seldom than this"
    )


class RetrainConfig(StrictModel):
    """Retraining on new footage."""

    inboxes: tuple[Path, ...] = Field((), description="folders where new footage arrives")
    settle_s: float = Field(
        60, ge=0, description="seconds for which a file must have been left alone before it is taken"
    )
    min_new_labels: int = Field(
        10, ge=1, description="newly labelled videos since the champion's training, for a challenger"
    )
    library: str = Field(
        "", description="database URL; empty: DSANET_LIBRARY_URL, or the workspace's library.db"
    )
    gate: GateConfig = GateConfig()
    drift: DriftConfig = DriftConfig()

    @field_validator("library")
    @classmethod
    def _keeps_no_password(cls, url: str) -> str:
        if "@" in url and ":" in url.rpartition("@")[0].partition("//")[2]:
            raise ValueError("a password has no place in a settings file; give the URL as DSANET_LIBRARY_URL")
        return url
