"""Mutation tests: changes one detail of the code after the other and runs the tests that reach it.

    make mutants [ONLY=extract/decode/timeline.py]
    python tests/mutants.py [ONLY ...]

mutmut (`[tool.mutmut]` in pyproject.toml) works in the folder `mutants/`, which it makes, and continues an
interrupted run. A mutant that passes every test is a survivor: a test is missing, or the change alters no
result. Those of the second kind are in `tests/equivalent_mutants.csv`, with the reason. Exit code 1 lists the
others, and rows of that file that survive no longer. The first run takes half an hour, a later one less.
"""

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.csv"
COLUMNS = ("module", "before", "after", "reason")
MUTMUT = [str(Path(sys.executable).with_name("mutmut"))]
# mutmut forks; with several threads, torch waits in the child for ever, and a timeout counts as killed.
os.environ["OMP_NUM_THREADS"] = "1"


class Mutant(NamedTuple):
    """One change of one line, or of several that mutmut changes together."""

    module: str
    before: str
    after: str


def mutmut(*arguments: str) -> str:
    result = subprocess.run([*MUTMUT, *arguments], cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        sys.exit(f"mutmut {' '.join(arguments)} failed:\n{result.stdout}{result.stderr}")
    return result.stdout


def survivors(modules: list[str]) -> Iterator[Mutant]:
    """The mutants of these modules (of all, if none are given) that no test has killed."""
    names = []
    for line in mutmut("results").splitlines():
        name, _, state = line.strip().partition(": ")
        if state in ("survived", "no tests") and (not modules or name.startswith(tuple(modules))):
            names.append(name)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from pool.map(_difference, names)


def _difference(name: str) -> Mutant:
    lines = mutmut("show", name).splitlines()
    before, after = (
        " ".join(
            line[1:].strip() for line in lines if line.startswith(sign) and not line.startswith(3 * sign)
        )
        for sign in "-+"
    )
    return Mutant(name.rpartition(".")[0], before, after)


def known_equivalents() -> dict[Mutant, str]:
    with EQUIVALENT.open(encoding="utf-8", newline="") as file:
        return {
            Mutant(row["module"], row["before"], row["after"]): row["reason"] for row in csv.DictReader(file)
        }


def main() -> None:
    modules = [name.removesuffix(".py").replace("/", ".") for name in sys.argv[1:]]
    if not shutil.which(MUTMUT[0]):
        sys.exit("mutmut is not installed; run `make mutants`")
    subprocess.run([*MUTMUT, "run", *(f"{name}.*" for name in modules)], cwd=ROOT, check=True)
    alive, known = set(survivors(modules)), known_equivalents()
    writer = csv.writer(sys.stdout, lineterminator="\n")
    missing = sorted(alive - known.keys())
    stale = sorted(m for m in known.keys() - alive if not modules or m.module in modules)
    if missing:
        print("\nSurvivors: write a test that fails, or add a row with the reason to", EQUIVALENT.name)
        writer.writerows(missing)
    if stale:
        print("\nRows that survive no longer:")
        writer.writerows(stale)
    print(f"\n{len(alive)} survivors, {len(alive) - len(missing)} of them known as equivalent")
    sys.exit(bool(missing or stale))


if __name__ == "__main__":
    main()
