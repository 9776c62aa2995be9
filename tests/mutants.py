"""Mutation tests: changes one detail of the code after the other and runs the tests that reach it.

    make mutants [ONLY=extract/decode/timeline.py]
    python tests/mutants.py [ONLY ...]

mutmut (`[tool.mutmut]` in pyproject.toml) works in the folder `mutants/`, which it makes, and continues an
interrupted run. A mutant that passes every test is a survivor: a test is missing, or the change alters no
result. Those of the second kind are in `tests/equivalent_mutants.csv`, with the reason. A mutant whose tests
do not end in time, or that ends their process, is not known to be killed, because a busy machine has the same
effect: it is tried once more, alone. Exit code 1 lists survivors and such mutants without a row in that file,
and rows without a mutant.

mutmut leaves out functions with decorators: properties, context managers. They are printed at the end; what
decides in them stands in a function of its own. The first run takes one to two hours on 2 cores.
"""

import ast
import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
EQUIVALENT = ROOT / "tests" / "equivalent_mutants.csv"
MUTMUT = [str(Path(sys.executable).with_name("mutmut"))]
KILLED = ("killed", "caught by type check")
SURVIVED = ("survived", "no tests")
MUTATED_DECORATORS: tuple[list[str], ...] = ([], ["staticmethod"], ["classmethod"])
DECIDED = KILLED + SURVIVED
# mutmut forks; with several threads, torch waits in the child for ever.
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


def run(names: Iterable[str], *options: str) -> None:
    """Test the mutants of these names, which may contain `*`; without names all that are not tested yet."""
    subprocess.run([*MUTMUT, "run", *options, *names], cwd=ROOT, check=True)


def tested(modules: list[str]) -> dict[str, str]:
    """Names and states of all mutants, in these modules or, without any, in all."""
    states = {}
    for line in mutmut("results", "--all", "true").splitlines():
        name, _, state = line.strip().partition(": ")
        if not modules or name.rpartition(".")[0] in modules:
            states[name] = state
    return states


def differences(names: Iterable[str]) -> Iterator[Mutant]:
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


def known_equivalents() -> set[Mutant]:
    with EQUIVALENT.open(encoding="utf-8", newline="") as file:
        return {Mutant(row["module"], row["before"], row["after"]) for row in csv.DictReader(file)}


def left_out(modules: Iterable[str]) -> Iterator[str]:
    """The functions of these modules that mutmut leaves out, because they have a decorator."""
    for module in modules:
        path = ROOT.joinpath(*module.split(".")).with_suffix(".py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            decorators = [ast.unparse(one) for one in getattr(node, "decorator_list", ())]
            if isinstance(node, ast.FunctionDef) and decorators not in MUTATED_DECORATORS:
                yield f"{module}.{node.name}"


def main() -> None:
    modules = [name.removesuffix(".py").replace("/", ".") for name in sys.argv[1:]]
    if not shutil.which(MUTMUT[0]):
        sys.exit("mutmut is not installed; run `make mutants`")
    run(f"{name}.*" for name in modules)
    if doubtful := [name for name, state in tested(modules).items() if state not in DECIDED]:
        run(doubtful, "--max-children", "1")
    states, known = tested(modules), known_equivalents()
    alive = {name: state for name, state in states.items() if state not in KILLED}
    found = dict(zip(differences(alive), alive.values(), strict=True))
    missing = {mutant: state for mutant, state in found.items() if mutant not in known}
    stale = [mutant for mutant in known - found.keys() if not modules or mutant.module in modules]
    _print(
        f"Survivors: write a test that fails, or add a row with the reason to {EQUIVALENT.name}",
        [mutant for mutant, state in missing.items() if state in SURVIVED],
    )
    _print(
        "Not known to be killed, because the tests did not end: run again on an idle machine, write a test "
        f"that fails at once, or add a row to {EQUIVALENT.name}",
        [mutant for mutant, state in missing.items() if state not in SURVIVED],
    )
    _print(f"Rows of {EQUIVALENT.name} without such a mutant:", stale)
    if functions := sorted(left_out({name.rpartition(".")[0] for name in states})):
        print("\nNot mutated, because they have decorators:", ", ".join(functions))
    print(f"\n{len(found)} mutants are alive, {len(found) - len(missing)} of them known as equivalent")
    sys.exit(bool(missing or stale))


def _print(title: str, mutants: list[Mutant]) -> None:
    if mutants:
        print(f"\n{title}")
        csv.writer(sys.stdout, lineterminator="\n").writerows(sorted(mutants))


if __name__ == "__main__":
    main()
