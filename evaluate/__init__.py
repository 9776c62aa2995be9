"""Evaluation: annotations and score files to metrics, `metrics.json` and an HTML report.

The names below are the public API. They are imported when first used: `import evaluate` alone loads neither
NumPy nor h5py. No module of this package loads torch.
"""

from typing import TYPE_CHECKING

from extract.lazy import lazy_exports

__all__ = [
    "evaluate_scores",
    "frame_metrics",
    "read_scores",
    "segment_map",
    "write_report",
    "write_scores",
]

if TYPE_CHECKING:
    from evaluate.evaluation import evaluate_scores
    from evaluate.metrics.frames import frame_metrics
    from evaluate.metrics.segments import segment_map
    from evaluate.report.write import write_report
    from evaluate.scores import read_scores, write_scores
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "evaluate_scores": "evaluate.evaluation",
            "frame_metrics": "evaluate.metrics.frames",
            "read_scores": "evaluate.scores",
            "segment_map": "evaluate.metrics.segments",
            "write_report": "evaluate.report.write",
            "write_scores": "evaluate.scores",
        },
    )
