"""Prefect flows over the stages, the composed configuration and the `dsanet` command.

The names below are the public API. They are imported when first used: `import flows` alone loads neither
Prefect nor torch.

    from pathlib import Path
    from flows import score_videos

    result = score_videos([Path("camera.mp4")], Path("workspace"), Path("scored"), threshold=0.5)
    for video in result.videos:
        for interval in video.intervals:
            print(video.scores.name, interval.start_s, interval.end_s, interval.label, interval.score)
"""

from typing import TYPE_CHECKING

from extract.lazy import lazy_exports

__all__ = ["extract_train_eval", "retrain_on_new_footage", "score_videos"]

if TYPE_CHECKING:
    from flows.pipeline.flows import extract_train_eval
    from flows.pipeline.score import score_videos
    from flows.retraining.flow import retrain_on_new_footage
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "extract_train_eval": "flows.pipeline.flows",
            "retrain_on_new_footage": "flows.retraining.flow",
            "score_videos": "flows.pipeline.score",
        },
    )
