"""What a retraining reports: one page that opens offline, the same in Markdown, and a line for the screen."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, PackageLoader

from evaluate.report.page import environment
from extract.atomic import write_atomically
from extract.config import StrictModel
from flows.library.inbox import Scan
from flows.library.library import Score, Video
from flows.retraining.drift import Drift, drift_charts
from flows.workspace.model_registry import Version
from flows.workspace.retrain_config import RetrainConfig

MOST_ROWS = 30


class Outcome(StrictModel):
    """How a retraining ended: versions by number, videos counted."""

    champion: int
    challenger: int | None
    """The last version that the gate judged, if there is one."""
    promoted: bool | None
    """Whether that one was let through."""
    new_videos: int
    """Not among what the champion was trained on, and no test video."""
    unlabelled: int
    newly_labelled: int
    drift: tuple[str, ...]
    """What drifts: features, scores."""
    sentence: str
    page: Path


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything on the page."""

    title: str
    versions: Sequence[Version]
    champion: Version
    scanned: Scan
    videos: Sequence[Video]
    new: Sequence[Video]
    newly_labelled: int
    scores: dict[str, Score]
    drifts: Sequence[Drift]
    config: RetrainConfig

    @property
    def judged(self) -> Version | None:
        """The last version that the gate has judged."""
        return next((one for one in reversed(self.versions) if one.decision), None)

    @property
    def unlabelled(self) -> list[Video]:
        """Videos without labels, the most surprising first."""
        found = [video for video in self.new if video.labels is None]
        return sorted(found, key=lambda video: -self.scores[video.digest].surprise)

    @property
    def problems(self) -> list[tuple[str, str]]:
        """Videos that are no use, and why."""
        return [(str(video.path), video.problem) for video in self.videos if video.problem]

    @property
    def sentence(self) -> str:
        """What there is to say, in one line."""
        return (
            f"version {self.champion.number} is in service; {len(self.new)} videos since its training, "
            f"{len(self.unlabelled)} of them without labels, {self.newly_labelled} newly labelled "
            f"(a challenger at {self.config.min_new_labels})"
        )

    def outcome(self, page: Path) -> Outcome:
        """The short form."""
        judged = self.judged
        return Outcome(
            champion=self.champion.number,
            challenger=judged.number if judged else None,
            promoted=judged.decision.promoted if judged and judged.decision else None,
            new_videos=len(self.new),
            unlabelled=len(self.unlabelled),
            newly_labelled=self.newly_labelled,
            drift=tuple(drift.name for drift in self.drifts if drift.warns),
            sentence=self.sentence,
            page=page,
        )

    def markdown(self, page: Path) -> str:
        """For Prefect's UI."""
        parts = [f"# {self.title}", self.sentence[0].upper() + self.sentence[1:] + "."]
        if (judged := self.judged) and judged.decision:
            parts.append(f"## Version {judged.number}\n\n{judged.decision.markdown()}")
        parts += [f"- drift of {one.name}: {one.sentence}" for one in self.drifts]
        parts.append(f"Report: [{page}]({page.as_uri()})")
        return "\n\n".join(parts) + "\n"


def write_page(path: Path, findings: Findings) -> Path:
    """Write the page, whole or not at all; returns its path."""
    env = environment()
    assert env.loader is not None
    env.loader = ChoiceLoader([env.loader, PackageLoader("flows.retraining", "templates")])
    page = env.get_template("retraining.html.j2").render(
        found=findings,
        charts=[chart for drift in findings.drifts for chart in drift_charts(drift, findings.config.drift)],
        most_rows=MOST_ROWS,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path
