"""What an evaluation may vary. Both mAP protocols are always computed."""

from pydantic import BaseModel, ConfigDict, Field


class EvaluateConfig(BaseModel):
    """Settings of one evaluation, recorded in `metrics.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=0.5, ge=0, le=1, description="a frame at or above it raises an alarm (FAR)"
    )
    only_scored: bool = Field(
        default=False, description="leave out videos without a score file, and say how many"
    )
    bootstrap: int = Field(default=1000, ge=0, le=100_000, description="resamples of videos; 0: no intervals")
    confidence: float = Field(default=0.95, gt=0, lt=1, description="mass of the bootstrap intervals")
    seed: int = Field(default=0, ge=0, description="of the bootstrap, and of t-SNE")
    tsne: bool = Field(default=False, description="draw raw against learned features (paper, figure 4)")
    thumbnail_videos: int = Field(
        default=24, ge=0, description="videos, worst first, that get thumbnails of their peaks"
    )
