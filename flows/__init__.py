"""Prefect flows over the stages, the configuration of a run, and the `dsanet` command.

The names below are the public API. They are imported when first used: `import flows` alone loads neither
Prefect nor torch.
"""

from typing import TYPE_CHECKING

from extract.lazy import lazy_exports

__all__ = ["extract_train_eval", "retrain_on_new_footage", "score_videos"]

if TYPE_CHECKING:
    from flows.pipeline.prefect_flows import extract_train_eval
    from flows.pipeline.score import score_videos
    from flows.retraining.flow import retrain_on_new_footage
else:
    __getattr__, __dir__ = lazy_exports(
        __name__,
        {
            "extract_train_eval": "flows.pipeline.prefect_flows",
            "retrain_on_new_footage": "flows.retraining.flow",
            "score_videos": "flows.pipeline.score",
        },
    )
