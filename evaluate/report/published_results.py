"""Published results to compare with: of DSANet (tables 1 to 6 of the paper) and of the other detectors."""

from dataclasses import dataclass

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


def paper_metrics_for(classes: tuple[str, ...], n_videos: int) -> PaperMetrics | None:
    """The paper's results if classes and number of test videos are those of a data set, else None.

    The number matters because other footage may have the same classes.
    """
    return next((p for p in PAPER_METRICS if p.classes == set(classes) and p.test_videos == n_videos), None)


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
    # Table 5. Its baseline is VadCLIP; its last row is DSANet.
    _result("adapter", "XD-Violence", ap=85.00, map_published=28.15),
    _result("adapter+sg-nm", "XD-Violence", ap=85.94, map_published=28.39),
    _result("adapter+dcsa", "XD-Violence", ap=85.67, map_published=28.25),
    # Table 6. Its last row is DSANet.
    _result("text-frozen", "XD-Violence", ap=81.57, map_published=27.60),
    _result("text-manual", "XD-Violence", ap=81.05, map_published=28.05),
    _result("text-learned", "XD-Violence", ap=82.88, map_published=28.26),
)


def published_results(name: str, dataset: str) -> tuple[PublishedResult, ...]:
    """Published results of a detector or of a row of the ablations on a data set; empty if there are none."""
    return tuple(result for result in RESULTS if (result.name, result.dataset) == (name, dataset))
