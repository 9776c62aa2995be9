"""The documentation's Python blocks run, and its CSV blocks are read by the program's own readers."""

import csv
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from dsanet.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from dsanet.detectors.registry import DETECTORS, Entry, build_detector, detector_preset
from evaluate.annotations import read_annotations
from extract.config import ExtractConfig
from extract.manifest import read_manifest
from extract.remote.store import is_remote
from flows.library.labels import import_labels
from flows.library.library import Library
from flows.library.records import FileRecord
from tests.docs.markdown import PAGES, ROOT, Block, blocks
from tests.docs.snippets import run_blocks
from tests.dsanet.helpers import ENCODER

CSV_BLOCKS = [block for page in PAGES for block in blocks(page, "csv")]
OTHER_PAGES = [page for page in PAGES if page.name != "python-api.md" and blocks(page, "python")]


def test_the_python_api_page_runs(reader: Path) -> None:
    assert (reader / "ws" / "report" / "metrics.json").is_file()
    assert (reader / "scored" / "intervals.csv").is_file()


@pytest.mark.parametrize("page", OTHER_PAGES, ids=lambda page: page.name)
def test_python_blocks_run(page: Path, tmp_path: Path) -> None:
    run_blocks(blocks(page, "python"), tmp_path)


@pytest.mark.parametrize("block", CSV_BLOCKS, ids=str)
def test_csv_blocks_are_read(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "block.csv"
    path.write_text(block.text)
    rows = list(csv.DictReader(block.text.splitlines()))
    match tuple(rows[0]):
        case ("path", "labels", "split"):
            for row in rows:
                if not is_remote(row["path"]):
                    (tmp_path / row["path"]).parent.mkdir(exist_ok=True)
                    (tmp_path / row["path"]).touch()
            records = read_manifest(path, needs_no_file=lambda record: is_remote(str(record.path)))
            assert len(records) == len(rows)
        case ("path", "label", "start_frame", "end_frame"):
            assert sum(map(len, read_annotations(path).values())) == len(rows)
        case ("video", "labels"):
            assert import_into_a_library(path, [row["video"] for row in rows]) == len(rows)
        case header:
            raise AssertionError(f"{block}: no reader of the columns {header}")


def import_into_a_library(path: Path, names: list[str]) -> int:
    """Videos labelled by a CSV, in a library that knows them."""
    with Library.open(path.parent) as library:
        for name in names:
            record = FileRecord(path.with_name(f"{name}.mp4"), digest=name, size=1, mtime_ns=1)
            library.add_file(record, name=name, split="train")
        return len(import_labels(library, path, allowed=None).changed)


def test_the_example_detector_trains_and_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = ROOT / "docs" / "detectors.md"
    (code,) = blocks(page, "python")
    line = re.search(r'^ *"([a-z-]+)": (Entry\(.*\)),$', page.read_text(), re.MULTILINE)
    assert line
    name, entry = line[1], eval(line[2], {"Entry": Entry})
    module = ModuleType(f"dsanet.detectors.{entry.config.partition(':')[0]}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(code.text, vars(module))
    monkeypatch.setitem(DETECTORS, name, entry)

    model, train, _ = detector_preset(name, "ucf-crime")
    detector = build_detector(model)
    features_BTD, lengths_B = torch.randn(2, 16, 512), torch.tensor([16, 4])
    labels_BC = torch.eye(len(model.classes))[[0, 6]]
    terms = detector.loss_terms(detector(features_BTD, lengths_B), labels_BC, lengths_B)
    assert tuple(terms) == detector.terms
    detector.total_loss(terms, train).backward()
    assert all(parameter.grad is not None for parameter in detector.parameters())
    info = CheckpointInfo(model=model, encoder=ENCODER, extract=ExtractConfig())
    loaded = load_checkpoint(save_checkpoint(tmp_path / "model", detector, info)).model
    expected = detector.eval()(features_BTD, lengths_B).anomaly_BT
    assert torch.equal(loaded(features_BTD, lengths_B).anomaly_BT, expected)
