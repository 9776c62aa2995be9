"""The public API of `flows`: the exported names, their signatures, and an import that loads no Prefect."""

import inspect
import subprocess
import sys
from collections.abc import Callable

import pytest

import flows
from flows.pipeline.prefect_flows import extract_train_eval
from flows.pipeline.score import score_videos
from flows.retraining.flow import retrain_on_new_footage

SIGNATURES = {
    extract_train_eval: ["workspace", "source", "config", "refresh", "retry"],
    retrain_on_new_footage: ["workspace", "retrain", "force", "new_registry", "retry"],
    score_videos: ["videos", "model", "out", "threshold", "release", "weights", "runtime"],
}


def test_the_root_exports_the_public_names_and_no_others() -> None:
    assert sorted(flows.__all__) == ["extract_train_eval", "retrain_on_new_footage", "score_videos"]
    assert set(flows.__all__) <= set(dir(flows))
    assert flows.extract_train_eval is extract_train_eval
    assert flows.retrain_on_new_footage is retrain_on_new_footage
    assert flows.score_videos is score_videos
    with pytest.raises(AttributeError, match="no attribute 'train_everything'"):
        _ = flows.train_everything  # type: ignore[attr-defined]


@pytest.mark.parametrize("function", SIGNATURES, ids=lambda function: function.__name__)
def test_the_signatures_stay(function: Callable[..., object]) -> None:
    assert list(inspect.signature(function).parameters) == SIGNATURES[function]
    assert function.__doc__


def test_importing_the_root_loads_neither_prefect_nor_torch() -> None:
    heavy = "{'prefect', 'torch', 'pydantic', 'numpy'}"
    script = f"import sys, flows; print(sorted({heavy} & sys.modules.keys()))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"
