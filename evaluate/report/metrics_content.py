"""The parts of a `metrics.json` that pages, tables and the model registry read, as a check of files.

Files of earlier versions lack what was added since, so only what all files of this schema version have is
required.
"""

from typing import Any

from pydantic import BaseModel, Field, ValidationError, model_validator
from typing_extensions import Self

from extract.errors import InputError


class _Map(BaseModel):
    per_iou: dict[str, float | None]
    average: float | None


class _Maps(BaseModel):
    published: _Map
    corrected: _Map


class _Class(BaseModel):
    label: str


class _Video(BaseModel):
    auc: float | None
    ap: float | None
    accuracy: float | None


class _Counts(BaseModel):
    test_videos: int
    left_out: int


class _Curves(BaseModel):
    roc: tuple[list[float], list[float]] | None
    pr: tuple[list[float], list[float]] | None


class _EventCurve(BaseModel):
    false_alarms_per_hour: list[float] = Field(min_length=1)
    found: list[float]

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        if len(self.found) != len(self.false_alarms_per_hour):
            raise InputError("its columns have different lengths")
        return self


class _EventClass(BaseModel):
    at: dict[str, dict[str, float | None]]


class _Events(BaseModel):
    release: float
    at: dict[str, dict[str, float | None]]
    per_class: dict[str, _EventClass]
    curve: _EventCurve


class _Metrics(BaseModel):
    title: str
    notes: list[str]
    auc: float | None
    ap: float | None
    anomaly_auc: float | None
    far: float | None
    missing: dict[str, str]
    threshold: float
    map: _Maps | None
    events: _Events | None = None
    video: _Video
    confidence_intervals: dict[str, tuple[float, float] | None]
    per_class: list[_Class]
    paper: dict[str, Any] | None
    counts: _Counts
    videos: list[dict[str, Any]]
    curves: _Curves
    config: dict[str, Any]
    digests: dict[str, str]


def check_content(text: str, where: object) -> None:
    """Check the JSON `text` of the file `where`. Raises InputError naming a key that is missing or wrong."""
    try:
        _Metrics.model_validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise InputError(f"{where} has no {key}; evaluate the run again") from None
        raise InputError(f"{where} has a wrong {key} ({first['msg']}); evaluate the run again") from None
