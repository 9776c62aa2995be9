"""The search for a recipe, one coordinate after the other on a few rows.

The order is that of the effect on a feature: crop, colours, resampling, frame. It is repeated while it helps,
since a coordinate can be judged exactly only when the others are right.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from extract.config import ExtractConfig
from extract.match.arrays import FeatureArray
from extract.match.comparison import BAD_LOSS, ROUNDING, TIE, Comparison, Ranked, Sample
from extract.match.recipes import (
    changed,
    colours,
    crops_of,
    frame_number,
    frames_inside,
    frames_near,
    frames_outside,
    geometries,
    resamplings,
)
from extract.match.rows import calm_rows, lively_rows

EXACT_LOSS = 1e-4
"""Up to here features are the same but for rounding and the decoder."""
ROWS = 3
"""Rows of each kind that are looked at, in all videos together."""
_ROUNDS = 3
_BEAM = 4
_FIRST_ROWS = 2
"""Rows for the first look at every crop of several frames."""
_PROGRESS = 0.1
"""Decades of loss that one more round must gain."""
_PRECISION_LOSSES = (1e-5, 1e-2)
"""Between them lie the losses of another floating-point precision."""


@dataclass(frozen=True)
class Found:
    """The best recipe, and for each coordinate the best one that differs in it."""

    config: ExtractConfig
    loss: float
    """On the rows of the search."""
    rivals: dict[str, Ranked] = field(default_factory=dict)


@dataclass(frozen=True)
class Probe:
    """The rows of a search."""

    calm: list[Sample]
    lively: list[Sample]
    crop: int
    """The crop that the arrays claim to be: taken where several are the same pixels."""


def probe_rows(arrays: Sequence[FeatureArray], usable: Sequence[Sequence[int]]) -> Probe:
    """Rows of up to three arrays of one crop; `usable` are the rows of each that may be taken."""
    order = sorted(range(len(arrays)), key=lambda i: -len(usable[i]))[:ROWS]
    each = -(-ROWS // len(order))
    calm, lively = [], []
    for i in order:
        rows = np.asarray(usable[i])
        of_array = arrays[i].rows_TD[rows]
        calm += [Sample(arrays[i], int(rows[row])) for row in calm_rows(of_array, each)]
        lively += [Sample(arrays[i], int(rows[row])) for row in lively_rows(of_array, each)]
    number = arrays[order[0]].crop
    return Probe(calm, lively, number if number is not None and number < 10 else 0)


def find_recipe(comparison: Comparison, probe: Probe, start: ExtractConfig, weights: Sequence[str]) -> Found:
    """The recipe whose features are nearest to the probe's rows."""
    every_row = [*probe.calm, *probe.lively]
    begun = [changed(start, weights=name) for name in weights]
    ranked = comparison.rank(_frames_and_geometries(begun, probe.crop), probe.calm[:_FIRST_ROWS])
    best = ranked[0]
    for _ in range(_ROUNDS):
        beam = [one.config for one in ranked[:_BEAM]]
        before = best
        for variants in (colours, resamplings):
            ranked = comparison.rank([v for config in beam for v in variants(config)], probe.calm)
            beam = [one.config for one in ranked[:_BEAM]]
        ranked = _rank_frames(comparison, ranked[0].config, probe.lively)
        both = comparison.rank([ranked[0].config, before.config], every_row)
        best = both[0]
        if best.loss < EXACT_LOSS / 10 or both[-1].score - best.score < _PROGRESS:
            break
        ranked = comparison.rank(_geometries(best.config, probe.crop), probe.calm)
    if best.loss > ROUNDING:
        neighbours = [*_resizes(best.config), *resamplings(best.config)]
        few = every_row if best.config.frame_pick != "mean" else [probe.calm[0], probe.lively[-1]]
        best = comparison.rank([best.config, *neighbours], few)[0]
    best = _with_precision(comparison, best, every_row)
    return Found(best.config, best.loss, _rivals(comparison, best.config, probe))


def find_crop(comparison: Comparison, config: ExtractConfig, probe: Probe) -> ExtractConfig:
    """The recipe with the crop that fits the probe best."""
    variants = _claimed_first(crops_of(config), probe.crop)
    return comparison.rank(variants, probe.calm)[0].config


def _frames_and_geometries(configs: Iterable[ExtractConfig], claimed: int) -> list[ExtractConfig]:
    """Every crop of three frames: where things move, another crop of another frame looks nearly right."""
    return [
        variant
        for config in configs
        for pick in ("middle", "first", "last")
        for variant in _geometries(changed(config, frame_pick=pick), claimed)
    ]


def _geometries(config: ExtractConfig, claimed: int) -> list[ExtractConfig]:
    return _claimed_first(geometries(config), claimed)


def _resizes(config: ExtractConfig) -> list[ExtractConfig]:
    """The other ways of resizing that have this crop."""
    return [variant for variant in geometries(config) if variant.crop == config.crop]


def _claimed_first(configs: Iterable[ExtractConfig], claimed: int) -> list[ExtractConfig]:
    return sorted(configs, key=lambda config: config.crop != claimed)


def _rank_frames(comparison: Comparison, config: ExtractConfig, samples: Sequence[Sample]) -> list[Ranked]:
    """Frames inside the snippet and their means; if the best is at an end of it or bad, frames around it."""
    ranked = comparison.rank([config, *frames_inside(config)], samples)
    best = ranked[0]
    reach = max(0, -(-config.snippet_length // 16) - 1)  # of 16 frames a snippet every one was among these
    if best.loss > EXACT_LOSS and (best.loss > BAD_LOSS or _at_an_end(best.config)):
        ranked = comparison.rank([best.config, *frames_outside(config)], samples)
        reach = max(1, config.snippet_length // 4 - 1)
    if not reach:
        return ranked
    near = frames_near(ranked[0].config, reach)
    return comparison.rank([ranked[0].config, best.config, ranked[1].config, *near], samples)


def _at_an_end(config: ExtractConfig) -> bool:
    """True if the recipe takes the first or last frame of a snippet, or one outside."""
    if config.frame_pick == "mean":
        return False
    return not 0 < frame_number(config) < config.snippet_length - 1


def _with_precision(comparison: Comparison, best: Ranked, samples: Sequence[Sample]) -> Ranked:
    """The best recipe with the precision that fits clearly better than the device's own."""
    low, high = _PRECISION_LOSSES
    if not low < best.loss < high:
        return best
    own = comparison.encoder(best.config).fingerprint.precision
    others = [changed(best.config, precision=name) for name in ("fp32", "fp16", "bf16") if name != own]
    first = comparison.rank([best.config, *others], samples)[0]
    return first if first.loss < best.loss / 2 else best


def _rivals(comparison: Comparison, best: ExtractConfig, probe: Probe) -> dict[str, Ranked]:
    """The next best choice of each coordinate, among those whose pictures are known."""
    rivals = {}
    for name, variants, samples in (
        ("frame", [*frames_inside(best), *frames_near(best, 1)], probe.lively),
        ("crop", geometries(best), probe.calm[:_FIRST_ROWS]),
        ("colours", colours(best), probe.calm),
        ("resampling", resamplings(best), probe.calm),
    ):
        known = [config for config in variants if comparison.knows(config, samples)]
        ranked = comparison.rank([best, *known], samples)
        others = [one for one in ranked if one.score > ranked[0].score + TIE]
        if others:
            rivals[name] = others[0]
    return rivals
