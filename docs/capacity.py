"""Machines, disk, requests and money that an installation of dsanet needs.

    python -m docs.capacity                                     the three examples of the page on planning
    python -m docs.capacity --cameras 1000 --fps 15 --minutes 60
    python -m docs.capacity --hours-per-minute 500 --live false --price-core-hour 0.04 --json

Rates that you have measured yourself replace the defaults. docs/capacity.md explains the formulas.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ValidationError
from rich.console import Console
from rich.table import Table

from docs.capacity_model import (
    Footage,
    Limits,
    Needs,
    Plan,
    Prices,
    Rates,
    as_json,
    cost_class,
    costs_of,
    needs_of,
    plan_of,
)

METAVARS = {"stream": "KIND", "live": "true|false"}
GROUPS: tuple[type[BaseModel], ...] = (Footage, Rates, Limits, Prices)
EXAMPLES: dict[str, dict[str, object]] = {
    "1,000 cameras": {"cameras": 1_000},
    "10,000 cameras": {"cameras": 10_000},
    "500 hours a minute": {"hours_per_minute": 500.0, "live": False},
}
ADVICE = {
    "decoding": "nodes with more cores for each GPU; a lower frame rate or resolution at the camera",
    "GPUs": "more GPUs in a node, up to what its cores can decode",
    "cores (decoding and CLIP)": "GPUs: CLIP on the cores is by far the largest part",
    "network": "the cluster beside the store or the cameras; a lower bit rate",
    "library": "longer videos (--minutes), fewer days, or a workspace for each site",
    "collecting process": "longer videos (--minutes), or a workspace for each site",
    "disk of the workspace": "fewer days, or a workspace for each site",
}
Row = tuple[str, Callable[[Needs, Plan, Limits], str]]
ROWS: tuple[Row, ...] = (
    ("streams at a time", lambda needs, plan, limits: number(needs.streams)),
    ("frames a second", lambda needs, plan, limits: number(needs.frames)),
    ("pictures for CLIP a second", lambda needs, plan, limits: number(needs.pictures)),
    ("videos a second", lambda needs, plan, limits: number(needs.videos)),
    ("cores that decode", lambda needs, plan, limits: number(needs.decode_cores + needs.picture_cores)),
    ("CLIP", lambda needs, plan, limits: processors(needs.clip, limits)),
    ("detector", lambda needs, plan, limits: processors(needs.score, limits)),
    ("network into the nodes", lambda needs, plan, limits: f"{number(needs.network_gbit)} Gb/s"),
    ("nodes", lambda needs, plan, limits: f"{plan.nodes:,}"),
    ("full first in the nodes", lambda needs, plan, limits: plan.first_of_nodes),
    ("requests to the store a second", lambda needs, plan, limits: number(needs.requests)),
    ("features", lambda needs, plan, limits: size(needs.feature_tb)),
    ("scores", lambda needs, plan, limits: size(needs.score_tb)),
    ("videos in the store", lambda needs, plan, limits: size(needs.video_tb)),
    ("objects in the store", lambda needs, plan, limits: number(needs.objects)),
    ("videos in the libraries", lambda needs, plan, limits: number(needs.library_videos)),
    ("libraries", lambda needs, plan, limits: size(needs.library_gb / 1_000)),
    ("workspaces", lambda needs, plan, limits: f"{plan.workspaces:,}"),
    ("full first in a workspace", lambda needs, plan, limits: plan.first_of_workspaces),
)


def number(value: float) -> str:
    """Three digits, or all of a larger number's."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def size(terabytes: float) -> str:
    return f"{number(terabytes)} TB" if terabytes >= 1 else f"{number(terabytes * 1_000)} GB"


def processors(count: float, limits: Limits) -> str:
    return f"{number(count)} {'GPUs' if limits.node_gpus else 'cores'}"


def parser_of_options() -> argparse.ArgumentParser:
    """The parser, with an option for every field."""
    parser = argparse.ArgumentParser(
        prog="python -m docs.capacity",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for group in GROUPS:
        options = parser.add_argument_group((group.__doc__ or "").partition(".")[0])
        for name, field in group.model_fields.items():
            default = "none" if field.default is None else str(field.default).lower()
            options.add_argument(
                f"--{name.replace('_', '-')}",
                metavar=METAVARS.get(name, "N"),
                default=argparse.SUPPRESS,
                help=f"{(field.description or '').replace('%', '%%')} (default: {default})",
            )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print options and results as JSON")
    output.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    return parser


def read_options(given: dict[str, str]) -> tuple[Footage, Rates, Limits, Prices]:
    """The groups with the given values. Raises SystemExit, with a line for each mistake."""
    groups, mistakes = [], []
    for group in GROUPS:
        try:
            groups.append(group(**{name: given[name] for name in given.keys() & group.model_fields.keys()}))
        except ValidationError as error:
            mistakes += [
                f"--{str(entry['loc'][0]).replace('_', '-')} {entry['input']}: {entry['msg']}"
                for entry in error.errors()
            ]
    if mistakes:
        print("\n".join(mistakes), file=sys.stderr)
        raise SystemExit(2)
    footage, rates, limits, prices = groups
    return footage, rates, limits, prices  # type: ignore[return-value]


def results_of(footage: Footage, rates: Rates, limits: Limits, prices: Prices) -> dict[str, object]:
    """Everything that is computed, as JSON takes it."""
    needs = needs_of(footage, rates, limits)
    plan = plan_of(needs, limits)
    return {
        "options": as_json(footage, rates, limits, prices),
        "needs": needs._asdict(),
        "plan": {
            **plan._asdict(),
            "first_of_nodes": plan.first_of_nodes,
            "first_of_workspaces": plan.first_of_workspaces,
        },
        "cost_a_month": costs_of(needs, plan, limits, prices),
    }


def table_of(examples: dict[str, tuple[Footage, Rates, Limits, Prices]]) -> list[list[str]]:
    """Header and rows: what is needed, a column for each example."""
    rows = [["", *examples]]
    columns = []
    for footage, rates, limits, _ in examples.values():
        needs = needs_of(footage, rates, limits)
        columns.append((needs, plan_of(needs, limits), limits))
    rows += [[name, *(show(*column) for column in columns)] for name, show in ROWS]
    return rows


def cost_rows(footage: Footage, rates: Rates, limits: Limits, prices: Prices) -> list[list[str]]:
    """A row for each part with a price: its cost a month and its class."""
    needs = needs_of(footage, rates, limits)
    costs = costs_of(needs, plan_of(needs, limits), limits, prices)
    total = sum(costs.values())
    rows = [[part, number(cost), cost_class(cost / total if total else 0)] for part, cost in costs.items()]
    return [["cost a month", "", "class"], *rows, ["total", number(total), ""]] if rows else []


def markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |".replace("|  |", "| |") for row in rows]
    return "\n".join([lines[0], "|---" * len(rows[0]) + "|", *lines[1:]])


def show(console: Console, rows: Sequence[Sequence[str]]) -> None:
    table = Table()
    for column, heading in enumerate(rows[0]):
        table.add_column(heading, justify="right" if column else "left")
    for row in rows[1:]:
        table.add_row(*row)
    console.print(table)


def main(words: Sequence[str] | None = None) -> None:
    given = vars(parser_of_options().parse_args(words))
    as_json_wanted, as_markdown = given.pop("json"), given.pop("markdown")
    own = {"cameras", "hours_per_minute"} & given.keys()
    named = {"this installation": {}} if own else EXAMPLES
    examples = {name: read_options({**values, **given}) for name, values in named.items()}
    if own and not needs_of(*next(iter(examples.values()))[:3]).streams:
        print("--cameras or --hours-per-minute must be more than 0", file=sys.stderr)
        raise SystemExit(2)
    if as_json_wanted:
        results = {name: results_of(*options) for name, options in examples.items()}
        print(json.dumps(results, indent=2))
        return
    rows = table_of(examples)
    if as_markdown:
        print(markdown(rows))
        return
    console = Console(highlight=False)
    show(console, rows)
    for name, options in examples.items():
        footage, rates, limits, _ = options
        plan = plan_of(needs_of(footage, rates, limits), limits)
        for first in (plan.first_of_nodes, plan.first_of_workspaces):
            console.print(f"{name}: {first} is full first; then {ADVICE[first]}", markup=False)
        if costs := cost_rows(*options):
            show(console, costs)


if __name__ == "__main__":
    main()
