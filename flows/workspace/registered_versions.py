"""A registered model version: its service, its decision, and a promotion that is complete only in part."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from extract.config import StrictModel
from flows.workspace.decision import Decision
from flows.workspace.training_runs import KEY

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CHAMPION, CHALLENGER = "champion", "challenger"
DECISION, REPLACED, WITHDRAWN = "dsanet.decision", "dsanet.replaced", "dsanet.withdrawn"
PROMOTION = "dsanet.promotion"


@dataclass(frozen=True)
class Version:
    """A registered model version."""

    number: int
    key: str
    """Digest of the training inputs; also the name of its folder below `models/`."""
    aliases: tuple[str, ...]
    created: datetime
    run_id: str
    decision: Decision | None
    """The gate's last decision on it; None before the first."""
    replaced: str
    """Key of the champion before it; empty if there was none or it was never promoted."""
    withdrawn: bool
    """True if it was replaced by hand or rolled back: only `promote(by_hand=True)` promotes it again."""
    served: bool
    """True if it is or was the champion."""

    @property
    def verdict(self) -> str:
        """Decision of the gate or a person, for example `promoted by hand although the gate refused it`."""
        passed = self.decision.promoted if self.decision else None
        if not self.served:
            return {None: "not judged", True: "passed the gate, not promoted", False: "refused"}[passed]
        if passed is None:
            return "promoted by hand without the gate" if self.replaced else "first champion"
        return "promoted" if passed else "promoted by hand although the gate refused it"

    @property
    def status(self) -> str:
        """The verdict, and whether it was taken out of service by hand."""
        return f"{self.verdict}; taken out of service by hand" if self.withdrawn else self.verdict


class Promotion(StrictModel):
    """The whole change of one promotion or rollback, written before the alias `champion` moves.

    It holds if the champion has the key `to`; otherwise the promotion was killed before its commit.
    """

    to: str
    replaced: str
    """Key of the champion before `to`, which a rollback returns to; empty for the first champion."""
    withdrawn: str
    """Key of the version that is withdrawn by it; empty for none."""


def noted_promotion(model: Any) -> Promotion | None:
    """The note of a promotion in the tags of a registered model, None without one."""
    note = model.tags.get(PROMOTION)
    return Promotion.model_validate_json(note) if note else None


def with_promotion(versions: list[Version], promotion: Promotion | None) -> Iterator[Version]:
    """The versions as they are once a committed promotion is complete."""
    committed = any(
        promotion is not None and version.key == promotion.to and CHAMPION in version.aliases
        for version in versions
    )
    for version in versions:
        if CHAMPION in version.aliases:
            version = replace(version, aliases=(CHAMPION,), served=True)
        if committed and promotion is not None:
            if version.key == promotion.to:
                version = replace(version, replaced=promotion.replaced, withdrawn=False)
            elif version.key == promotion.withdrawn:
                version = replace(version, withdrawn=True)
        yield version


def read_version(found: "ModelVersion", aliases: Mapping[str, Any]) -> Version:
    """A version from MLflow's entity; `aliases` are those of the registered model, with version numbers."""
    tags = found.tags
    own = (alias for alias, number in aliases.items() if int(number) == int(found.version))
    return Version(
        number=int(found.version),
        key=tags[KEY],
        aliases=tuple(sorted(own)),
        created=datetime.fromtimestamp(found.creation_timestamp / 1000, timezone.utc),
        run_id=str(found.run_id),
        decision=Decision.model_validate_json(tags[DECISION]) if tags.get(DECISION) else None,
        replaced=tags.get(REPLACED, ""),
        withdrawn=bool(tags.get(WITHDRAWN)),
        served=REPLACED in tags,
    )
