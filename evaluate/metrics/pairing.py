"""Scores and truths of the same videos, side by side: mappings by name, or sequences in the same order."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

S = TypeVar("S")
L = TypeVar("L")


def paired(
    scores: Mapping[str, S] | Sequence[S], truths: Mapping[str, L] | Sequence[L]
) -> Iterator[tuple[str, S, L]]:
    """Name, scores and truth of every video in the truths' order; in sequences the name is `video <index>`.

    Raises ValueError naming a video that is in one of the two only, or when both are empty.
    """
    named_scores, named_truths = _named(scores), _named(truths)
    if not named_truths and not named_scores:
        raise ValueError("no videos to evaluate: scores and truths are both empty")
    if lost := sorted(named_scores.keys() ^ named_truths.keys()):
        side = "scores" if lost[0] in named_truths else "truth"
        raise ValueError(
            f"{lost[0]}: no {side} for this video ({len(lost)} video(s) have one without the other)"
        )
    for name, truth in named_truths.items():
        yield name, named_scores[name], truth


def _named(per_video: Mapping[str, S] | Sequence[S]) -> dict[str, S]:
    if isinstance(per_video, Mapping):
        return dict(per_video)
    return {f"video {index}": values for index, values in enumerate(per_video)}
