"""Published results to compare with: of DSANet (tables 1 to 6 of the paper) and of the other detectors."""

from dataclasses import dataclass
from typing import NamedTuple

from evaluate.metrics.segments import IOU_THRESHOLDS
from extract.labels import UCF_CRIME_CLASSES, XD_VIOLENCE_CLASSES


@dataclass(frozen=True)
class PaperMetrics:
    """The paper's results on one data set, in percent."""

    dataset: str
    classes: frozenset[str]
    test_videos: int
    headline: str
    """Name of the data set's main metric: "auc" or "ap"."""
    value: float
    """Value of that metric."""
    map_per_iou: tuple[float, ...]
    """At IoU 0.1 to 0.5."""
    map_average: float


PAPER_METRICS = (
    PaperMetrics(
        dataset="UCF-Crime",
        classes=frozenset(UCF_CRIME_CLASSES),
        test_videos=290,
        headline="auc",
        value=89.44,
        map_per_iou=(21.39, 14.96, 11.74, 8.98, 8.00),
        map_average=13.01,
    ),
    PaperMetrics(
        dataset="XD-Violence",
        classes=frozenset(XD_VIOLENCE_CLASSES),
        test_videos=800,
        headline="ap",
        value=86.95,
        map_per_iou=(40.93, 34.63, 28.21, 22.70, 17.89),
        map_average=28.87,
    ),
)


def paper_metrics_for(
    classes: tuple[str, ...], n_videos: int, dataset: str | None = None
) -> PaperMetrics | None:
    """The paper's results if classes and number of test videos are those of a data set, else None.

    The number matters because other footage may have the same classes; it does not if `dataset`
    (`ucf-crime`) says which test set the videos are from.
    """
    return next(
        (
            paper
            for paper in PAPER_METRICS
            if paper.classes == set(classes)
            and (paper.test_videos == n_videos if dataset is None else paper.dataset.casefold() == dataset)
        ),
        None,
    )


@dataclass(frozen=True)
class PublishedResult:
    """A published result of a detector, or of a row of DSANet's ablations, on one data set.

    The field names are keys in `standings.json`.
    """

    name: str
    dataset: str
    figures: dict[str, float]
    """Percent by metric name."""
    said: str = ""
    """Features used, or the source if it is not the detector's paper."""

    def __str__(self) -> str:
        figures = ", ".join(f"{TITLES[key]} {value:.2f}" for key, value in self.figures.items())
        return f"{figures} ({self.said})" if self.said else figures


TITLES = {"auc": "AUC", "ap": "AP", "anomaly_auc": "Ano-AUC", "far": "FAR", "map_published": "mAP"}


def _result(name: str, dataset: str, said: str = "", **figures: float) -> PublishedResult:
    return PublishedResult(name, dataset, figures, said)


RESULTS = (
    _result("mil-ranking", "UCF-Crime", "C3D", auc=75.41),
    _result("mil-ranking", "UCF-Crime", "I3D", auc=77.92),
    _result("mil-ranking", "UCF-Crime", "CLIP, by VadCLIP's authors", auc=84.14, anomaly_auc=63.29),
    _result("mil-ranking", "XD-Violence", "C3D", ap=73.20),
    _result("mil-ranking", "XD-Violence", "CLIP, by VadCLIP's authors", ap=75.18),
    _result("clip-tsa", "UCF-Crime", auc=87.58),
    _result("clip-tsa", "XD-Violence", ap=82.19),
    _result("vadclip", "UCF-Crime", auc=88.02, anomaly_auc=70.23, map_published=6.68),
    _result("vadclip", "XD-Violence", ap=84.51, map_published=24.70),
    _result("vla-gated", "UCF-Crime", "I3D", auc=87.83, far=3.24),
    _result("vla-gated", "XD-Violence", "I3D", ap=83.30, far=5.63),
    *(
        PublishedResult(
            "dsanet", paper.dataset, {paper.headline: paper.value, "map_published": paper.map_average}
        )
        for paper in PAPER_METRICS
    ),
    # Methods that are no detectors here, for their imported scores in a leaderboard.
    _result("rtfm", "UCF-Crime", "I3D", auc=84.30),
    _result("rtfm", "XD-Violence", "I3D", ap=77.81),
    _result("ur-dmu", "UCF-Crime", "I3D", auc=86.97),
    _result("ur-dmu", "XD-Violence", "I3D", ap=81.66),
    _result("mgfn", "UCF-Crime", "I3D", auc=86.98),
    _result("mgfn", "XD-Violence", "I3D", ap=79.19),
    # Table 5. Its baseline is VadCLIP; its last row is DSANet.
    _result("adapter", "XD-Violence", ap=85.00, map_published=28.15),
    _result("adapter+sg-nm", "XD-Violence", ap=85.94, map_published=28.39),
    _result("adapter+dcsa", "XD-Violence", ap=85.67, map_published=28.25),
    # Table 6. Its last row is DSANet.
    _result("text-frozen", "XD-Violence", ap=81.57, map_published=27.60),
    _result("text-manual", "XD-Violence", ap=81.05, map_published=28.05),
    _result("text-learned", "XD-Violence", ap=82.88, map_published=28.26),
)


def _table(headline: str, value: float, map_per_iou: tuple[float, ...], average: float) -> dict[str, float]:
    per_iou = {f"mAP@{iou}": found for iou, found in zip(IOU_THRESHOLDS, map_per_iou, strict=True)}
    return {headline: value, **per_iou, "mAP AVG": average}


PAPERS = {
    **{
        ("dsanet", paper.dataset): _table(
            paper.headline.upper(), paper.value, paper.map_per_iou, paper.map_average
        )
        for paper in PAPER_METRICS
    },
    ("vadclip", "UCF-Crime"): _table("AUC", 88.02, (11.72, 7.83, 6.40, 4.53, 2.93), 6.68)
    | {"Ano-AUC": 70.23},
    # VadCLIP's test script returns the AP of the alignment branch for XD-Violence.
    ("vadclip", "XD-Violence"): _table("AP (classes)", 84.51, (37.03, 30.84, 23.38, 17.90, 14.31), 24.70),
}
"""The figures of a detector's paper by title, in percent, by detector and data set."""


class Reported(NamedTuple):
    """A figure that a reader measured with the authors' code. The field names are keys in `metrics.json`."""

    value: float
    """In percent."""
    how: str
    source: str


_VADCLIP_34 = "github.com/nwpu-zxr/VadCLIP/issues/34"
_VADCLIP_24 = "github.com/nwpu-zxr/VadCLIP/issues/24"
_DSANET_3 = "github.com/lessiYin/DSANet/issues/3"
REPORTED: dict[tuple[str, str], dict[str, tuple[Reported, ...]]] = {
    ("vadclip", "UCF-Crime"): {
        "AUC": (Reported(87.35, "trained anew", _VADCLIP_34),),
        "AUC (classes)": (Reported(85.81, "trained anew", _VADCLIP_34),),
        "mAP AVG": (Reported(7.00, "trained anew", _VADCLIP_34),),
    },
    ("vadclip", "XD-Violence"): {
        "AP": (
            Reported(80.10, "trained anew", _VADCLIP_34),
            Reported(79.14, "trained anew", _VADCLIP_24),
        ),
        "AP (classes)": (
            Reported(83.21, "trained anew", _VADCLIP_34),
            Reported(75.46, "trained anew", _VADCLIP_24),
        ),
        "mAP AVG": (
            Reported(23.17, "trained anew", _VADCLIP_34),
            Reported(22.32, "trained anew", _VADCLIP_24),
        ),
    },
    ("dsanet", "XD-Violence"): {
        "AP": (
            Reported(85.53, "trained anew", _DSANET_3),
            Reported(86.95, "trained anew", _DSANET_3),
        )
    },
}
"""By detector, data set and title of the figure."""


def published_results(name: str, dataset: str) -> tuple[PublishedResult, ...]:
    """Published results of a detector or of a row of the ablations on a data set; empty if there are none."""
    return tuple(result for result in RESULTS if (result.name, result.dataset) == (name, dataset))
