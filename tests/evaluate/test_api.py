"""The public API of `evaluate`: names, signatures, lazy imports, and the examples in the docstrings."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import evaluate

SIGNATURES = {
    "evaluate_scores": "scores_dir, truths, config=None",
    "frame_metrics": "scores, labels, threshold=0.5",
    "read_scores": "path",
    "segment_map": "scores, segments, classes, protocol='published', snippet_length=16",
    "write_report": "out_dir, evaluation, *, title, notes=(), curves_csv=None, thumbnail=None, "
    "raw_features=None, run_config=None, digests=None, causal=None",
    "write_scores": "path, scores, provenance",
}


def test_the_root_exports_these_names() -> None:
    assert evaluate.__all__ == sorted(SIGNATURES)
    assert set(SIGNATURES) <= set(dir(evaluate))
    with pytest.raises(AttributeError, match="module 'evaluate' has no attribute 'nothing'"):
        _ = evaluate.nothing


@pytest.mark.parametrize("name", SIGNATURES)
def test_signatures_are_the_documented_ones(name: str) -> None:
    signature = inspect.signature(getattr(evaluate, name))
    parameters = [one.replace(annotation=inspect.Parameter.empty) for one in signature.parameters.values()]
    assert str(inspect.Signature(parameters)) == f"({SIGNATURES[name]})"


def test_importing_the_root_alone_loads_no_libraries() -> None:
    code = "import sys, evaluate; print({'numpy', 'torch', 'h5py', 'sklearn'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_no_module_of_the_package_loads_torch() -> None:
    code = f"import sys\nfrom evaluate import {', '.join(SIGNATURES)}\nprint('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


def test_the_examples_in_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of a session: `read_scores`, `evaluate_scores` and `write_report` need a score file."""
    monkeypatch.chdir(tmp_path)
    for name in (
        "frame_metrics",
        "segment_map",
        "write_scores",
        "read_scores",
        "evaluate_scores",
        "write_report",
    ):
        [example] = doctest.DocTestFinder(recurse=False).find(getattr(evaluate, name), name, globs={})
        assert example.examples
        assert doctest.DocTestRunner().run(example).failed == 0
