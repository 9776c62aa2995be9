"""The public API of `extract`: names, signatures, lazy imports, and the examples in the docstrings."""

import doctest
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import extract
from tests.extract.numbered_clips import make_clip

PARAMETERS = {
    "ExtractConfig": "*, snippet_length, frame_pick, mean_frames, frame_offset, keep_last, resize, "
    "resampling, antialias, colour, crops, crop, normalise, weights, precision",
    "ExtractRuntime": "*, device, devices, runner, ray_address, workers, batch_size, decoder, timeout_s, "
    "cache_gb, partial, verify",
    "extract_videos": "records, features_dir, config, runtime, on_progress, *, encoder, retry, on_written",
    "load_encoder": "weights, device='auto', precision='auto', batch_size=None",
    "probe": "path, tick",
    "read_features": "path",
    "read_frames": "path, indices, decoder='auto'",
    "write_features": "path, features",
}


def test_the_root_exports_these_names() -> None:
    assert extract.__all__ == sorted(PARAMETERS)
    assert set(PARAMETERS) <= set(dir(extract))
    with pytest.raises(AttributeError, match="module 'extract' has no attribute 'nothing'"):
        _ = extract.nothing
    with pytest.raises(ImportError, match="nothing"):
        from extract import nothing  # noqa: F401


@pytest.mark.parametrize("name", PARAMETERS)
def test_signatures_are_the_documented_ones(name: str) -> None:
    parameters = inspect.signature(getattr(extract, name)).parameters.values()
    keyword_only = [p.kind is p.KEYWORD_ONLY for p in parameters]
    shown = [
        f"{p.name}={p.default!r}" if isinstance(p.default, str | None) and len(parameters) < 5 else p.name
        for p in parameters
    ]
    if any(keyword_only):
        shown.insert(keyword_only.index(True), "*")
    assert ", ".join(shown) == PARAMETERS[name]


def test_optional_parameters_have_their_defaults() -> None:
    config, runtime = extract.ExtractConfig(), extract.ExtractRuntime()
    assert config.model_dump() == {
        "snippet_length": 16,
        "frame_pick": "middle",
        "mean_frames": 4,
        "keep_last": True,
        "crops": 1,
        "weights": "openai",
        "precision": "auto",
    }
    assert runtime.model_dump() == {
        "device": "auto",
        "devices": None,
        "workers": None,
        "batch_size": None,
        "decoder": "auto",
        "timeout_s": 120.0,
        "partial": False,
        "verify": False,
        "runner": "local",
        "ray_address": None,
        "cache_gb": 20.0,
    }
    defaults = inspect.signature(extract.extract_videos).parameters
    assert defaults["runtime"].default == runtime
    assert defaults["on_progress"].default is defaults["encoder"].default is None
    assert callable(inspect.signature(extract.probe).parameters["tick"].default)


def test_importing_the_root_alone_loads_no_libraries() -> None:
    code = "import sys, extract; print({'torch', 'pydantic', 'numpy', 'av', 'h5py'} & sys.modules.keys())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "set()\n"


def test_the_examples_in_the_docstrings_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of a session: the examples of the feature files need the extraction's."""
    make_clip(tmp_path / "video.mp4", 40)
    monkeypatch.chdir(tmp_path)
    finder, runner = doctest.DocTestFinder(recurse=False), doctest.DocTestRunner()
    names = sorted(PARAMETERS, key=lambda name: (name.endswith("_features"), name))
    for name in names:
        examples = finder.find(getattr(extract, name), name, globs={})
        assert examples, f"{name} has no docstring"
        for example in examples:
            assert example.examples, f"{name} has no example"
            runner.run(example)
    assert runner.summarize().failed == 0
