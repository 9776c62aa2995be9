"""The report of a retraining: an HTML page that opens offline, a Markdown summary, and one log line."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import ChoiceLoader, PackageLoader

from evaluate.report.page import environment
from extract.atomic import write_atomically
from extract.config import StrictModel
from flows.library.problems import ProblemGroup, grouped_by_reason
from flows.library.records import ScoredVideo
from flows.pipeline.artifacts import markdown_text
from flows.retraining.drift import Drift, drift_charts
from flows.workspace.registered_versions import Version
from flows.workspace.retrain_config import RetrainConfig

MAX_ROWS = 30
"""Rows of the table of videos without labels."""


class Outcome(StrictModel):
    """The result of a retraining."""

    champion: int
    """Version number of the champion after the run."""
    challenger: int | None
    """Number of the last version that the gate has judged; None if there is none."""
    promoted: bool | None
    """The gate's decision on that version."""
    new_videos: int
    """Videos outside the champion's training set and the test split."""
    unlabelled: int
    """New videos without labels."""
    newly_labelled: int
    """Videos with labels that the champion was not trained with."""
    drift: tuple[str, ...]
    """The comparisons that warn: `features`, `scores`."""
    sentence: str
    """Summary in one line."""
    page: Path
    """The HTML page."""


@dataclass(frozen=True, eq=False)
class Findings:
    """The content of the page. New videos are those outside the training set and the test split."""

    title: str
    versions: Sequence[Version]
    champion: Version
    problems: Sequence[tuple[str, str]]
    """Path and reason of every video that cannot be read."""
    new: int
    newly_labelled: int
    unlabelled: int
    """New videos without labels."""
    queue: Sequence[ScoredVideo]
    """Those of them with the highest entropy."""
    drifts: Sequence[Drift]
    config: RetrainConfig

    @property
    def judged(self) -> Version | None:
        """The last version that the gate has judged."""
        return next((version for version in reversed(self.versions) if version.decision), None)

    @property
    def problem_groups(self) -> Sequence[ProblemGroup]:
        """The videos that cannot be read, by reason."""
        return grouped_by_reason(self.problems)

    @property
    def sentence(self) -> str:
        """Summary in one line."""
        by_hand = f" ({self.champion.verdict})" if "by hand" in self.champion.verdict else ""
        return (
            f"version {self.champion.number} is the champion{by_hand}; {self.new:,} videos since its "
            f"training, {self.unlabelled:,} of them without labels, {self.newly_labelled:,} newly labelled "
            f"(a challenger needs {self.config.min_new_labels})"
        )

    def outcome(self, page: Path) -> Outcome:
        """The result of the flow."""
        judged = self.judged
        return Outcome(
            champion=self.champion.number,
            challenger=judged.number if judged else None,
            promoted=judged.decision.promoted if judged and judged.decision else None,
            new_videos=self.new,
            unlabelled=self.unlabelled,
            newly_labelled=self.newly_labelled,
            drift=tuple(drift.name for drift in self.drifts if drift.warns),
            sentence=self.sentence,
            page=page,
        )

    def markdown(self, page: Path) -> str:
        """The summary, the gate's decision and the drift in Markdown, for Prefect's UI."""
        parts = [f"# {self.title}", f"{_sentence_case(self.sentence)}."]
        if (judged := self.judged) and judged.decision:
            parts.append(f"## Version {judged.number}: {judged.status}\n\n{judged.decision.markdown()}")
        parts += [f"- drift of {drift.sentence}" for drift in self.drifts]
        parts += [
            f"- {len(group.files)} files cannot be read: {markdown_text(group.reason)}"
            for group in self.problem_groups
        ]
        parts.append(f"Report: [{page}]({page.as_uri()})")
        return "\n\n".join(parts) + "\n"


def write_page(path: Path, findings: Findings) -> Path:
    """Write the page atomically; returns its path."""
    env = environment()
    assert env.loader is not None
    env.loader = ChoiceLoader([env.loader, PackageLoader("flows.retraining", "templates")])
    env.filters["sentence_case"] = _sentence_case
    page = env.get_template("retraining.html.j2").render(
        found=findings,
        charts=[chart for drift in findings.drifts for chart in drift_charts(drift, findings.config.drift)],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page)
    return path


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
