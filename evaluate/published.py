"""The paper's own figures (tables 1 to 4), to stand beside ours, and the test sets they belong to."""

from dataclasses import dataclass

from evaluate.annotations import UCF_CRIME_CLASSES, XD_VIOLENCE_CODES


@dataclass(frozen=True)
class PublishedFigures:
    """What DSANet's paper reports for one data set, in percent. `headline` is the data set's own measure."""

    dataset: str
    classes: frozenset[str]
    test_videos: int
    headline: str  # "auc" or "ap"
    value: float
    map_per_iou: tuple[float, ...]  # at IoU 0.1 to 0.5
    map_average: float


PUBLISHED = (
    PublishedFigures(
        dataset="UCF-Crime",
        classes=frozenset(UCF_CRIME_CLASSES),
        test_videos=290,
        headline="auc",
        value=89.44,
        map_per_iou=(21.39, 14.96, 11.74, 8.98, 8.00),
        map_average=13.01,
    ),
    PublishedFigures(
        dataset="XD-Violence",
        classes=frozenset(XD_VIOLENCE_CODES.values()),
        test_videos=800,
        headline="ap",
        value=86.95,
        map_per_iou=(40.93, 34.63, 28.21, 22.70, 17.89),
        map_average=28.87,
    ),
)


def published_for(classes: tuple[str, ...], n_videos: int) -> PublishedFigures | None:
    """The paper's figures if these are the classes of a data set and the size of its whole test set.

    Own footage may share the classes; the paper's figures would mislead beside it.
    """
    return next((p for p in PUBLISHED if p.classes == set(classes) and p.test_videos == n_videos), None)
