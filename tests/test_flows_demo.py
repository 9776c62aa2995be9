"""The demo's proof (slow): it finds the events, and with shuffled training labels it finds nothing."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from extract.dataset import NORMAL, VideoRecord, read_manifest, write_manifest
from flows.demo import prepare_demo
from flows.footage import EVENTS
from flows.inputs import describe
from flows.pipeline import extract_train_eval
from flows.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    root = tmp_path_factory.mktemp("demo")
    prepare_demo(root, "random", seed=0)
    extract_train_eval(root)
    return Workspace(root)


def auc(workspace: Workspace) -> float:
    return float(json.loads((workspace.report / "metrics.json").read_text())["auc"])


def shuffled(records: list[VideoRecord], seed: int) -> list[VideoRecord]:
    """The same videos with labels that say nothing of what they show; the test's are left alone.

    Of each split's clips of each true class every other one is called normal, the rest this or that event:
    a plain permutation of so few labels would often agree or disagree with the truth by chance.
    """
    rng = np.random.default_rng(seed)
    dealt, events = [], itertools.cycle(EVENTS)
    for _, group in itertools.groupby(records, key=lambda r: (r.split, r.labels)):
        clips = list(group)
        for place, clip in enumerate(rng.permutation(len(clips))):
            record = clips[clip]
            label = NORMAL if place % 2 == 0 else next(events)
            labels = record.labels if record.split == "test" else (label,)
            dealt.append(VideoRecord(record.name, record.path, labels, record.split))
    return dealt


def test_the_demo_finds_the_events(demo: Workspace) -> None:
    assert auc(demo) >= 0.85


def test_with_shuffled_labels_there_is_no_skill(demo: Workspace, tmp_path: Path) -> None:
    inputs = demo.recall()
    found = []
    for seed in range(3):
        root = tmp_path / str(seed)
        shutil.copytree(demo.features, root / "features")
        write_manifest(root / "m.csv", shuffled(read_manifest(inputs.manifest), seed))
        describe(root, root / "m.csv", inputs.annotations, preset="small", weights="random")
        extract_train_eval(root)
        found.append(auc(Workspace(root)))
    assert 0.35 <= np.mean(found) <= 0.65, found
