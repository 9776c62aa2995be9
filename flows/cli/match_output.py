"""Output of `dsanet features match`: the table of videos, the recipes, the notes; the cosines as CSV."""

import csv
import io
from itertools import groupby
from pathlib import Path

import numpy as np

from extract.atomic import write_atomically
from extract.config import ExtractConfig
from extract.display import shortened
from extract.match.recipes import as_ten, changed, describe, set_options
from extract.match.remarks import crops_text, remarks, rivals, sparkline, verdict
from extract.match.result import ArrayMatch, MatchResult
from flows.cli.tables import FRAMED, print_line, print_note, print_table

MOST_VIDEOS = 100


def print_match(result: MatchResult) -> None:
    """Print the cosines of each video, each recipe with its settings, the notes, and the verdict."""
    by_video = [list(of_video) for _, of_video in groupby(result.arrays, key=lambda one: one.array.video)]
    headings = ("video", "crop", "recipe", "rows", "mean", "worst", "along the video")
    rows = [_row(matches) for matches in by_video[:MOST_VIDEOS]]
    print_table(headings, rows, numbers=("rows", "mean", "worst"), title="cosine to recipe 1", box=FRAMED)
    if len(by_video) > MOST_VIDEOS:
        print_line(f"{len(by_video) - MOST_VIDEOS:,} more videos; --out writes the cosines of all")
    for number, found in enumerate(result.recipes, start=1):
        print_line(f"recipe {number}  {describe(found.config)}")
        for options in _settings(found.config, result.arrays if number == 1 else []):
            print_line(f"settings  {options or 'those that dsanet extract has by default'}")
        if found.rivals:
            print_line(f"next best {rivals(found)}")
    for text in remarks(result):
        print_note(text)
    _print_unpaired(result)
    print_line(verdict(result))


def write_cosines(path: Path, result: MatchResult) -> None:
    """Write a CSV with one line per compared row: where it is in the video, and its cosine to recipe 1."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(("video", "file", "crop", "row", "frame", "time_s", "cosine"))
    for one in result.arrays:
        for row, cosine in zip(one.rows, one.cosines, strict=True):
            frame = round(row * one.config.snippet_length * one.timing.stretch) + one.timing.shift
            place = (one.array.video, one.array.path.name, one.config.crop, row, frame)
            writer.writerow((*place, f"{frame / one.fps:.3f}", f"{cosine:.6f}"))
    write_atomically(path, text.getvalue())


def _row(matches: list[ArrayMatch]) -> tuple[str, ...]:
    cosines = [one.cosines for one in matches]
    parts = [part for one in matches for part in one.parts]
    recipes = {part.recipe for part in parts} | {0 for part in parts if part.mixed}
    alike = len({len(of_one) for of_one in cosines}) == 1
    return (
        matches[0].array.video,
        crops_text(matches),
        ", ".join(sorted("none" if number is None else str(number + 1) for number in recipes)),
        f"{len(matches[0].array.rows_TD)}",
        f"{np.mean(np.concatenate(cosines)):.5f}",
        f"{np.concatenate(cosines).min():.5f}",
        sparkline(np.min(cosines, axis=0) if alike else np.concatenate(cosines)),
    )


def _settings(config: ExtractConfig, matches: list[ArrayMatch]) -> list[str]:
    """The options that make all crops at once if that is possible, else the options of each crop."""
    of_crop = {one.array.crop: changed(config, crop=one.config.crop) for one in matches}
    together = as_ten(of_crop.values()) if of_crop else config
    if together is not None:
        return [set_options(together)]
    return [f"crop {crop}: {set_options(one)}" for crop, one in of_crop.items()]


def _print_unpaired(result: MatchResult) -> None:
    pairing = result.pairing
    if pairing.features_without_video:
        names = pairing.features_without_video
        print_note(f"features without a video of their name: {shortened(names)}")
    if pairing.videos_without_features:
        names = [path.name for path in pairing.videos_without_features]
        print_note(f"videos without features of their name: {shortened(names)}")
