"""Entry point of the `dsanet` command and of `python -m dsanet`: check the packages, then start `flows.cli`.

Other projects install packages with the same names, for example Hugging Face's `evaluate`. In one environment
they hide or overwrite ours. This module imports none of the packages before the check, and starts `flows.cli`
as a program: `dsanet` does not depend on `flows`.
"""

import runpy
import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
EXPORTS = {
    "extract": "extract_videos",
    "dsanet": "load_checkpoint",
    "evaluate": "evaluate_scores",
    "flows": "extract_train_eval",
}
"""The packages of this project, each with a name that its `__init__.py` exports."""
REMEDY = "give dsanet an environment of its own (python -m venv .venv) and install it there again"


def foreign_package() -> str | None:
    """Describe the first package that is missing or another project's; None if all four are ours."""
    for package, export in EXPORTS.items():
        own, found = ROOT / package, _location(package)
        if found is None:
            return f"the package `{package}` is missing at {own}; install dsanet again"
        if found.resolve() != own.resolve():
            return (
                f"`{package}` at {found} is another project's and hides dsanet's package at {own}; {REMEDY}"
            )
        if not _exports(own, export):
            return f"another project has overwritten dsanet's package `{package}` at {own}; {REMEDY}"
    return None


def _location(package: str) -> Path | None:
    """The folder or file from which `import` would load the package; nothing is imported."""
    spec = find_spec(package)
    if spec is None:
        return None
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0] if folders else str(spec.origin))


def _exports(package: Path, name: str) -> bool:
    """True if `__init__.py` exports the name; a namespace package has none."""
    try:
        return name in (package / "__init__.py").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def main() -> None:
    """Run the command line. Exits with code 2 and one line if a package is not this project's."""
    if problem := foreign_package():
        print(f"dsanet: {problem}", file=sys.stderr)
        sys.exit(2)
    runpy.run_module("flows.cli", run_name="__main__")


if __name__ == "__main__":
    main()
