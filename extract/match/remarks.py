"""What a match found, in words: lengths, breaks along the videos, what tells a recipe from the next one."""

from collections.abc import Iterator
from itertools import groupby

import numpy as np
import numpy.typing as npt

from extract.display import format_time
from extract.match.lengths import RATES, USUAL_LENGTH
from extract.match.recipes import crop_name, describe_frames
from extract.match.result import ArrayMatch, MatchResult, Part
from extract.match.search import Found
from extract.views import WHOLE_PICTURE

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH = 32


def sparkline(cosines: npt.NDArray[np.float64], width: int = _WIDTH) -> str:
    """The worst cosines along an array as blocks: a full one for 0.99999, the lowest below 0.9."""
    places = np.array_split(cosines, min(width, len(cosines)))
    decades = [-np.log10(max(1 - float(place.min()), 1e-7)) for place in places]
    return "".join(_BLOCKS[int(np.clip(decade * 7 / 5, 0, 7))] for decade in decades)


def verdict(result: MatchResult) -> str:
    """One line: whether one recipe makes all of the features."""
    worst = min(float(one.cosines.min()) for one in result.arrays)
    if result.identified:
        alike = "" if worst >= 0.9999 else "; not bit by bit: another decoder, copy of the video or precision"
        return f"identified: recipe 1 makes every row that was compared (worst cosine {worst:.5f}){alike}"
    made = [float(cosine) for one in result.arrays for cosine in one.cosines]
    if result.recipes[0].loss > 0.01 and np.mean(np.array(made) >= 0.99) < 0.5:
        return "not identified: no recipe reaches a cosine of 0.99; recipe 1 is the nearest"
    return "not identified: recipe 1 does not make all of the features; the notes say where it ends"


def rivals(found: Found) -> str:
    """The next best choice in each coordinate: `frame 7 of 16 0.99871; crop 1 0.91200`."""
    texts = []
    for name, rival in found.rivals.items():
        other = rival.config
        shown = {
            "frame": describe_frames(other),
            "crop": f"{other.resize} crop {other.crop}",
            "colours": other.colour.upper(),
            "resampling": other.resampling + ("" if other.antialias else " without antialias"),
        }[name]
        texts.append(f"{shown} {1 - rival.loss:.5f}")
    return "; ".join(texts)


def remarks(result: MatchResult) -> list[str]:
    """Notes on lengths and breaks, one for all crops of a video that have the same."""
    lines = list(_remarks_on_all(result))
    for video, of_video in groupby(result.arrays, key=lambda one: one.array.video):
        matches = list(of_video)
        found: dict[str, list[tuple[ArrayMatch, list[float]]]] = {}
        for one in matches:
            for text, cosines in _remarks(one):
                found.setdefault(text, []).append((one, cosines))
        for text, of_crops in found.items():
            crops = ", ".join(str(one.array.crop or 0) for one, _ in of_crops)
            where = "" if len(of_crops) == len(matches) else f", crop {crops}"
            lines.append(f"{video}{where}: {text}{_spread([c for _, cosines in of_crops for c in cosines])}")
    lines += [f"{name}: not compared, it can't be decoded: {why}" for name, why in result.failures.items()]
    return lines


def _remarks_on_all(result: MatchResult) -> Iterator[str]:
    counts = {len(one.array.rows_TD) for one in result.arrays}
    frames = {one.n_frames for one in result.arrays}
    if len(counts) == 1 and len(frames) > 1 and max(frames) > 1.1 * min(frames):
        yield (
            f"every array has {counts.pop()} rows, whatever the length of its video: rows were averaged or "
            "sampled to a fixed number, and extract has no setting for that"
        )
    config = result.recipes[0].config
    if config.snippet_length != USUAL_LENGTH:
        rates = sorted({one.fps for one in result.arrays})
        rate = rates[0] * USUAL_LENGTH / config.snippet_length
        as_converted = any(abs(rate - usual) < 0.01 for usual in RATES) and len(rates) == 1
        other = f", as 16 frames of footage converted to {rate:g} frames a second" if as_converted else ""
        yield f"a row stands for {config.snippet_length} frames{other}"


def _length_remarks(one: ArrayMatch) -> Iterator[str]:
    if one.padded:
        yield f"the last {one.padded} rows are padding: zero, or the same as the row before them"
    if one.timing.stretch != 1:
        yield (
            f"the features are of footage at {one.fps / one.timing.stretch:.4g} frames a second, the video "
            f"has {one.fps:.4g}: convert the video, extract has no setting for that"
        )
        return
    rows, length = len(one.array.rows_TD) - one.padded, one.config.snippet_length
    least, most = one.n_frames // length, -(-one.n_frames // length)
    if rows > most:
        yield f"{rows} rows, but the video's {one.n_frames} frames are {most} snippets"
    elif rows < least:
        yield f"{rows} rows for {most} snippets: the features of {most - rows} snippets are missing"
    elif rows == least < most and one.config.keep_last:
        yield "the last, shorter snippet is left out, unlike in other videos"
    if one.timing.shift:
        yield f"the features begin at frame {one.timing.shift} of the video"


def _remarks(one: ArrayMatch) -> Iterator[tuple[str, list[float]]]:
    """The remarks on one array, each with the cosines that it is about."""
    for text in _length_remarks(one):
        yield text, []
    for part in one.parts:
        if part.recipe != 0 or part.shift:
            yield f"{_place(one, part)}: {_reason(one, part)}", _cosines(one, part)


def _place(one: ArrayMatch, part: Part) -> str:
    if (part.first, part.stop) == (0, len(one.array.rows_TD) - one.padded):
        return "all rows"
    first = part.first * one.config.snippet_length
    rows = f"row {part.first}" if part.stop == part.first + 1 else f"rows {part.first} to {part.stop - 1}"
    return f"{rows}, from frame {first} ({format_time(first / one.fps)}) on"


def _reason(one: ArrayMatch, part: Part) -> str:
    if part.shift:
        length = one.config.snippet_length
        cut = "frames were cut or put in" if abs(part.shift) >= length else "another frame was taken"
        return f"recipe 1 at frames {abs(part.shift)} {'later' if part.shift > 0 else 'earlier'}: {cut}"
    if part.mixed:
        other = "others" if part.recipe is None else f"rows of recipe {part.recipe + 1}"
        return f"rows of recipe 1 and {other} alternate"
    if part.recipe is not None:
        return f"made by recipe {part.recipe + 1}"
    last = len(one.array.rows_TD) - one.padded
    if (part.first, part.stop) == (last - 1, last) and one.n_frames % one.config.snippet_length:
        return "the last snippet is shorter, and another frame of it was taken"
    return "made by no recipe"


def _cosines(one: ArrayMatch, part: Part) -> list[float]:
    compared = zip(one.rows, one.cosines.tolist(), strict=True)
    return [cosine for row, cosine in compared if part.first <= row < part.stop]


def _spread(cosines: list[float]) -> str:
    if not cosines:
        return ""
    return f" (recipe 1: mean cosine {np.mean(cosines):.4f}, worst {min(cosines):.4f})"


def crops_text(matches: list[ArrayMatch]) -> str:
    """The crop of each array of a video: `0 to 9` where the numbers are ours, else `0 = 5 centre …`."""
    numbers = [one.array.crop for one in matches]
    ours = [one.config.crop for one in matches]
    if len(matches) > 1 and numbers == ours:
        return f"{numbers[0]} to {numbers[-1]}"
    named = [
        f"{crop} {crop_name(crop, whole=one.config.resize in WHOLE_PICTURE)}"
        for crop, one in zip(ours, matches, strict=True)
    ]
    if len(matches) == 1 and numbers[0] in (None, ours[0]):
        return named[0]
    return ", ".join(f"{number} = {name}" for number, name in zip(numbers, named, strict=True))
