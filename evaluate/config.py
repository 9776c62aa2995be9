"""Settings of an evaluation. Both mAP protocols are always computed."""

from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    model_serializer,
)


class EvaluateConfig(BaseModel):
    """Settings of one evaluation, recorded in `metrics.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    threshold: float = Field(
        default=0.5,
        ge=0,
        le=1,
        description="anomaly score at or above which a frame or video counts as an alarm",
    )
    release: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="an alarm goes on until the score is below this share of its threshold (hysteresis); "
        "for the figures of events",
    )
    only_scored: bool = Field(
        default=False, description="evaluate only videos with a score file; the others are counted and listed"
    )
    dataset: Literal["ucf-crime", "xd-violence"] | None = Field(
        default=None,
        description="published test set that the videos are from, whose published figures the report shows; "
        "empty: told by the classes and the number of test videos",
    )
    bootstrap: int = Field(
        default=1000, ge=0, le=100_000, description="bootstrap resamples of the videos; 0 for no intervals"
    )
    confidence: float = Field(
        default=0.95, gt=0, lt=1, description="probability covered by the bootstrap intervals"
    )
    seed: int = Field(default=0, ge=0, description="random seed of the bootstrap and of t-SNE")
    tsne: bool = Field(
        default=False, description="draw t-SNE of CLIP features and learned features (paper, figure 4)"
    )
    thumbnail_videos: int = Field(
        default=24, ge=0, description="number of videos with thumbnails, those with the largest errors first"
    )
    causal: bool = Field(
        default=False,
        description="score the test videos a second time without the snippets after each moment, as of a "
        "camera; the report shows the figures of both",
    )

    @model_serializer(mode="wrap")
    def _without_later_defaults(
        self, handler: SerializerFunctionWrapHandler, info: SerializationInfo
    ) -> dict[str, Any]:
        """Without `causal` if it is off and not every setting is asked for: as in earlier versions."""
        values: dict[str, Any] = handler(self)
        if not (self.causal or info.context):
            values.pop("causal", None)
        return values
