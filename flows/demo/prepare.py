"""The workspace of `dsanet demo`: synthetic footage and the preset `small`."""

from pathlib import Path

from flows.demo.footage import make_footage
from flows.progress import stage_progress
from flows.workspace.inputs import configure_workspace
from flows.workspace.workspace import Workspace


def prepare_demo(out: Path, weights: str, seed: int) -> None:
    """Generate the footage in `out/footage-SEED`, keeping existing clips, and write `out/workspace.json`."""
    with stage_progress("footage", "clips") as report:
        manifest, annotations = make_footage(
            Workspace(out).root / f"footage-{seed}",
            seed=seed,
            normal=16,
            per_event=6,
            on_clip=lambda done, total: report(done, total, ""),
        )
    configure_workspace(
        out, manifest, annotations, preset="small", weights=weights, title="Synthetic street footage"
    )
