"""The demo: synthetic footage for the whole pipeline, with the preset `small`; only the street is made up."""

from pathlib import Path

from flows.demo.footage import make_footage
from flows.pipeline.progress import stage_progress
from flows.workspace.inputs import describe


def prepare_demo(out: Path, weights: str, seed: int) -> None:
    """Make the footage below `out` (clips that are there already are kept) and describe the workspace."""
    with stage_progress("footage", "clips") as report:
        manifest, annotations = make_footage(
            out / f"footage-{seed}",
            seed=seed,
            normal=16,
            per_event=6,
            on_clip=lambda done, total: report(done, total, ""),
        )
    describe(out, manifest, annotations, preset="small", weights=weights, title="Synthetic street footage")
