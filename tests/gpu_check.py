"""Check of a machine with a CUDA card: the tests marked `gpu`, then the extraction and training benchmarks.

    make gpu-check [WHEELS=folder]
    python tests/gpu_check.py [--wheels FOLDER] [--minutes 7] [--device cuda]

Needs Python with torch; the other packages may come as wheels in a folder, which are installed for this run
only, without network access. The checks run in the order of their importance; one that does not fit into the
time that is left is left out, and the table says so. Ends with Markdown tables of the results, which state
card, driver and versions, for `docs/performance.md`.

Exit code 0: everything that ran passed; 1: a check failed or was stopped; 2: the check cannot run here.
`--device cpu` tries the program itself on a machine without a card, in a few minutes: the tests marked `gpu`
are then collected and not run, and the benchmarks have small sizes.
"""

import argparse
import importlib.util
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "PIL": "pillow", "annotated_types": "annotated-types", "av": "av", "decord": "decord", "ftfy": "ftfy",
    "h5py": "h5py", "huggingface_hub": "huggingface-hub", "hypothesis": "hypothesis",
    "cloudpickle": "cloudpickle", "iniconfig": "iniconfig", "joblib": "joblib", "narwhals": "narwhals",
    "numpy": "numpy", "open_clip": "open_clip_torch", "packaging": "packaging",
    "pluggy": "pluggy", "psutil": "psutil", "pydantic": "pydantic", "pydantic_core": "pydantic-core",
    "pygments": "pygments", "pytest": "pytest", "regex": "regex", "safetensors": "safetensors",
    "scipy": "scipy", "sklearn": "scikit-learn", "sortedcontainers": "sortedcontainers",
    "threadpoolctl": "threadpoolctl", "timm": "timm", "torch": "torch", "torchvision": "torchvision",
    "tqdm": "tqdm", "typing_extensions": "typing-extensions", "typing_inspection": "typing-inspection",
    "wcwidth": "wcwidth", "yaml": "pyyaml",
}  # fmt: skip
"""Modules that the tests and benchmarks import, and the packages on PyPI that provide them."""
MISSING_MODULES = """
import importlib, importlib.util, sys
missing = {name for name in sys.argv[1:] if importlib.util.find_spec(name) is None}
for name in ("torch", "open_clip", "sklearn", "pydantic", "h5py", "pytest"):
    try:
        name in missing or importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing.add(error.name.partition(".")[0])
print(*sorted(missing))
"""
"""Prints the missing modules; imports those that need many others, torch first."""
RATES = "tests/benchmarks/extract_rates.py"
SPEED = "tests/benchmarks/dsanet_speed.py"
PRECISION = "tests/benchmarks/detector_precision.py"
SLOWER = 2
"""A check is stopped when it takes this many times the expected seconds: the others shall have their turn."""


@dataclass
class Check:
    """One command: its result as table cells, and the table that it printed."""

    title: str
    expected_s: float
    """Estimate for a machine with one H100 or H200 and 16 cores."""
    arguments: list[str]
    seconds: float = 0.0
    result: Literal["passed", "failed", "left out"] = "left out"
    lines: list[str] = field(default_factory=list)
    """Its output."""

    def run_if_it_fits(self, environment: dict[str, str], left_s: float) -> None:
        """Run it if `left_s` seconds are enough for it."""
        if left_s < self.expected_s:
            self.lines = [f"it takes about {self.expected_s:.0f} s, {max(left_s, 0):.0f} s were left"]
            print(f"\n== {self.title}: left out, {self.lines[0]}", flush=True)
        else:
            self.run(environment, min(left_s, SLOWER * self.expected_s))

    def run(self, environment: dict[str, str], limit_s: float) -> None:
        """Run it for at most `limit_s`; what it printed until then is kept."""
        print(f"\n== {self.title}: {' '.join(self.arguments)} (at most {limit_s:.0f} s)", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                [sys.executable, *self.arguments],
                cwd=ROOT,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that the benchmark's own processes end with it
            )
            try:
                code = process.wait(timeout=limit_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                code = None
            output.seek(0)
            self.lines = output.read().splitlines()
        self.seconds = time.monotonic() - started
        self.result = "passed" if code == 0 else "failed"
        if code is None:
            self.lines.append(f"stopped after {limit_s:.0f} s")
        print("\n".join(self.lines), flush=True)

    @property
    def summary(self) -> str:
        last = next((line for line in reversed(self.lines) if line.strip()), "no output").strip(" =")
        outcome = {"passed": "passed", "failed": f"FAILED: {last}", "left out": f"LEFT OUT: {last}"}
        return outcome[self.result].replace("|", "\\|")

    @property
    def table(self) -> list[str]:
        """The Markdown table that it printed."""
        return [line for line in self.lines if line.startswith("|")]


def gpu_tests() -> list[str]:
    """The test files with tests marked `gpu`; the others may import packages that are missing here."""
    files = sorted((ROOT / "tests").rglob("test_*.py"))
    return [str(path.relative_to(ROOT)) for path in files if "pytest.mark.gpu" in path.read_text()]


def checks(device: str) -> list[Check]:
    """The commands for a device, the most important first; small ones for a trial on a CPU."""
    pytest = ["-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    large = ["--size=1920x1080", "--key-every=60"]
    if device == "cpu":
        small = ["--device=cpu", "--frames=32", "--clips=1", "--crops", "1", "10", "--rounds=1"]
        models = ["--device=cpu", "--batch=1", "--repeats=1"]
        return [
            Check("tests", 300, [*pytest, "--collect-only", *gpu_tests()]),
            Check("extraction, 320×240", 150, [RATES, *small]),
            Check("extraction, 1080p", 150, [RATES, *small, *large]),
            Check("DSANet against the rewrite", 300, [SPEED, *models]),
            Check("detectors in bf16", 150, [PRECISION, *models, "--detectors", "mil-ranking"]),
        ]
    rates = [RATES, f"--device={device}", "--clips=16"]
    found = [
        Check("tests", 120, [*pytest, *gpu_tests()]),
        Check("extraction, 320×240", 40, [*rates, "--frames=3200"]),
        Check("extraction, 1080p", 50, [*rates, "--frames=960", *large]),
        Check("DSANet against the rewrite", 70, [SPEED, f"--device={device}", "--batch=64", "--repeats=2"]),
        Check("detectors in bf16", 35, [PRECISION, f"--device={device}", "--batch=32", "--repeats=5"]),
    ]
    if importlib.util.find_spec("torchcodec"):
        nvdec = [*rates, "--frames=960", *large, "--crops", "1", "--decoder=nvdec"]
        found.insert(3, Check("extraction, 1080p, NVDEC", 40, nvdec))
    return [
        *found,
        Check(
            "DSANet compiled",
            100,
            [
                PRECISION,
                f"--device={device}",
                "--batch=32",
                "--repeats=5",
                "--compile",
                "--detectors",
                "dsanet",
            ],
        ),
    ]


def environment_with(wheels: Path | None, target: str) -> dict[str, str]:
    """The environment of the checks; the wheels are installed into `target`, which their Python searches."""
    environment = dict(os.environ, PYTHONUNBUFFERED="1", PYTHONDONTWRITEBYTECODE="1")
    if wheels is not None:
        files = sorted(str(path) for path in wheels.glob("*.whl"))
        if not files:
            sys.exit(_refusal(f"no wheels (*.whl) in {wheels}"))
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps"]
        subprocess.run([*pip, "--target", target, *files], check=True)
        sys.path.insert(0, target)
    paths = [target, str(ROOT), environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def require_modules(environment: dict[str, str]) -> None:
    """Exit with the names of the packages that are missing, and how to get them."""
    found = subprocess.run(
        [sys.executable, "-c", MISSING_MODULES, *MODULES], env=environment, capture_output=True, text=True
    )
    if found.returncode:
        sys.exit(_refusal(f"the packages can't be imported: {found.stderr.strip().splitlines()[-1]}"))
    missing = " ".join(MODULES.get(name, name) for name in found.stdout.split())
    if missing:
        version = ".".join(platform.python_version_tuple()[:2])
        sys.exit(
            _refusal(
                f"missing packages: {missing}; collect their wheels with `python -m pip download --no-deps "
                f"--only-binary=:all: --python-version {version} -c constraints.txt -d wheels {missing}` on "
                "a machine with a network, and give --wheels wheels"
            )
        )


def describe_machine(device: str) -> str:
    """Card, driver and versions. Exits if there is no usable card."""
    import torch

    versions = f"torch {torch.__version__}, Python {platform.python_version()}"
    if device == "cpu":
        return f"CPU, {os.cpu_count()} cores, {versions}"
    if not torch.cuda.is_available():
        sys.exit(_refusal("torch finds no CUDA card (torch.cuda.is_available() is False)"))
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        driver = "unknown"
    return f"{torch.cuda.get_device_name()}, driver {driver}, CUDA {torch.version.cuda}, {versions}"


def report(machine: str, results: list[Check]) -> str:
    """The results as Markdown: one row per check, then the tables that the benchmarks printed."""
    rows = [
        f"| {check.title} | `python {' '.join(check.arguments)}` | {check.summary} | {check.seconds:.0f} |"
        for check in results
    ]
    text = [f"### {machine}", "", "| check | command | result | seconds |", "|---|---|---|---|", *rows]
    for check in results:
        if check.table:
            text += ["", f"{check.title}:", "", *check.table]
    return "\n".join(text)


def _refusal(reason: str) -> int:
    print(f"gpu-check: {reason}", file=sys.stderr)
    return 2


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--wheels", type=Path, help="folder of wheels to install for this run")
    parser.add_argument("--minutes", type=float, default=7, help="time for everything")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1, or cpu to try the program")
    options = parser.parse_args()
    deadline = time.monotonic() + 60 * options.minutes - 5
    with tempfile.TemporaryDirectory() as target:
        environment = environment_with(options.wheels, target)
        require_modules(environment)
        machine = describe_machine(options.device)
        print(machine, flush=True)
        results = checks(options.device)
        for check in results:
            check.run_if_it_fits(environment, deadline - time.monotonic())
    print(f"\n{report(machine, results)}")
    sys.exit(any(check.result == "failed" for check in results))


if __name__ == "__main__":
    main()
