"""Bags that are read ahead from disk: those that memory gives, whatever happens to the files meanwhile."""

import logging
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

import dsanet.training.bag_sources
import dsanet.training.file_facts
from dsanet.checkpoint import DRAFT
from dsanet.detectors.config import TrainConfig
from dsanet.detectors.registry import detector_preset
from dsanet.training.bag_sources import MemoryBags, opened_bags
from dsanet.training.bags import BagList, Bags, list_bags
from dsanet.training.loop import TrainProgress
from dsanet.training.read_ahead import read_ahead
from dsanet.training.reader_processes import ReaderProcesses
from dsanet.training.train import train
from extract.digest_index import SETTLED_NS
from extract.errors import InputError, MissingFileError
from extract.feature_index import FeatureIndex
from extract.manifest import VideoRecord
from extract.source import file_digest, file_state
from extract.store import FeatureFileError, feature_path, read_meta
from tests.dsanet.helpers import CLASSES, ENCODER, make_footage, write_video

CPU = torch.device("cpu")
LENGTH = 8
SNIPPETS = (3, 8, 20, 1, 9)
CROPS = 5


@pytest.fixture(autouse=True)
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """However few bags there are."""
    monkeypatch.setattr(dsanet.training.bag_sources, "IN_MEMORY_VIDEOS", 0)


@pytest.fixture
def features_dir(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for i, snippets in enumerate(SNIPPETS):
        write_video(tmp_path / "features", f"v{i}", random.normal(size=(snippets, CROPS, 512)))
    return tmp_path / "features"


@pytest.fixture
def records() -> list[VideoRecord]:
    labels = ("normal", "riot")
    return [VideoRecord(f"v{i}", Path(f"v{i}"), (labels[i % 2],), "train") for i in range(len(SNIPPETS))]


@pytest.fixture
def listed(records: list[VideoRecord], features_dir: Path) -> BagList:
    return list_bags(records, features_dir, CLASSES, LENGTH)


@contextmanager
def opened(listed: BagList, folder: Path) -> Iterator[Bags]:
    with opened_bags([listed], folder) as (bags,):
        yield bags


def same(bags: Bags, bags_B: np.ndarray | None = None) -> bool:
    """True if a batch of these bags, by default of all, is what memory gives; its features are not empty."""
    bags_B = np.arange(len(bags))[::-1].copy() if bags_B is None else bags_B
    got, expected = bags.half_batch(bags_B), Bags(bags.listed, KEPT[bags.listed.key]).half_batch(bags_B)
    assert expected.features_BTD.count_nonzero() > 0
    assert got.names == expected.names
    return all(torch.equal(a, b) for a, b in zip(got[:3], expected[:3], strict=True))


KEPT: dict[str, MemoryBags] = {}
"""Bags in memory by the key of their list."""


@pytest.fixture(autouse=True)
def kept(listed: BagList) -> None:
    KEPT[listed.key] = MemoryBags(listed)


def bag_file(folder: Path) -> Path:
    return next(path for path in folder.glob("bags-*") if path.suffix == "")


def test_bags_from_disk_are_those_from_memory(listed: BagList, tmp_path: Path) -> None:
    with opened(listed, tmp_path / "draft") as bags:
        assert same(bags, np.array([7, 5, 24, 7]))  # two crops of one video, and one twice
        assert same(bags)
        assert same(bags)


def test_segments_too(records: list[VideoRecord], features_dir: Path, tmp_path: Path) -> None:
    listed = list_bags(records, features_dir, CLASSES, LENGTH, segmented=True, every_crop=False)
    KEPT[listed.key] = MemoryBags(listed)
    with opened(listed, tmp_path) as bags:
        assert len(bags) == len(SNIPPETS)
        assert same(bags)
        assert same(bags)


def test_a_feature_file_is_read_once_even_by_a_training_that_continues(
    listed: BagList, tmp_path: Path
) -> None:
    with opened(listed, tmp_path) as bags:
        assert same(bags, np.array([0, 5, 10, 15, 20]))  # one crop of each
        for path in listed.paths:
            path.unlink()
        assert same(bags)
    with opened(listed, tmp_path) as bags:
        assert same(bags)


def test_another_list_of_bags_has_another_file_and_the_old_one_goes(
    listed: BagList, records: list[VideoRecord], features_dir: Path, tmp_path: Path
) -> None:
    with opened(listed, tmp_path) as bags:
        assert same(bags)
    before = {path.name for path in tmp_path.glob("bags-*")}
    other = list_bags(records, features_dir, CLASSES, LENGTH // 2)
    KEPT[other.key] = MemoryBags(other)
    with opened(other, tmp_path) as bags:
        assert same(bags)
    assert len(before) == 2
    assert not before & {path.name for path in tmp_path.glob("bags-*")}


@pytest.mark.parametrize("damage", ["flipped", "cut", "index"])
def test_a_damaged_bag_is_read_again_from_its_feature_file(
    damage: str, listed: BagList, tmp_path: Path
) -> None:
    with opened(listed, tmp_path) as bags:
        assert same(bags)
    path = bag_file(tmp_path)
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    elif damage == "index":
        path.with_suffix(".index").write_bytes(os.urandom(200))
    else:
        with path.open("r+b") as file:
            file.seek(700)
            byte = file.read(1)[0]
            file.seek(700)
            file.write(bytes([byte ^ 1]))
    with opened(listed, tmp_path) as bags:
        assert same(bags)
        for feature_file in listed.paths:
            feature_file.unlink()
        assert same(bags)  # stored again


def test_what_is_wrong_with_a_feature_file_is_said_in_one_line(listed: BagList, tmp_path: Path) -> None:
    with opened(listed, tmp_path) as bags:
        content = bytearray(listed.paths[1].read_bytes())
        content[-1] ^= 1
        listed.paths[1].write_bytes(content)
        with pytest.raises(FeatureFileError, match=r"v1\.h5 is damaged: its checksum does not match"):
            bags.half_batch(np.array([CROPS]))
        listed.paths[1].unlink()
        with pytest.raises(MissingFileError, match=r"no feature file .*v1\.h5; extract"):
            bags.half_batch(np.array([CROPS]))
        write_video(listed.paths[1].parent, "v1", np.ones((8, CROPS, 512)))
        with pytest.raises(InputError, match=r"v1\.h5 has changed since the training began"):
            bags.half_batch(np.array([CROPS]))
        assert same(bags, np.array([0, 2 * CROPS]))


def test_without_room_for_the_bags_every_epoch_reads_the_feature_files(
    listed: BagList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(dsanet.training.bag_sources, "_FREE_BYTES", 1 << 60)
    with opened(listed, tmp_path / "draft") as bags:
        assert same(bags)
        assert same(bags)
    assert list((tmp_path / "draft").iterdir()) == []
    assert "GB, 0.0 GB can be used; every epoch reads the feature files instead" in caplog.text


def test_a_disk_that_is_full_later_ends_the_storing_and_not_the_training(
    listed: BagList, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with caplog.at_level(logging.WARNING, "dsanet"), opened(listed, tmp_path) as bags:
        resource.setrlimit(resource.RLIMIT_FSIZE, (4 * LENGTH * 1024, hard))  # for new processes too
        try:
            assert same(bags)
            assert same(bags)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert same(bags)
    assert not list(tmp_path.glob("bags-*"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "File too large; every epoch reads the feature files instead" in caplog.text


def test_features_that_do_not_go_together_are_found_in_the_headers_of_many_files(
    records: list[VideoRecord], features_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list_bags(records, features_dir, CLASSES, LENGTH)
    monkeypatch.setattr(dsanet.training.file_facts, "_HEADERS_ALONE", 0)
    monkeypatch.setattr(dsanet.training.file_facts, "_HEADERS_AT_ONCE", 2)
    by_processes = list_bags(records, features_dir, CLASSES, LENGTH)
    assert (by_processes.facts, by_processes.key) == (before.facts, before.key)
    assert before.facts[2].snippets == SNIPPETS[2]
    other = ENCODER.model_copy(update={"weights_digest": "other"})
    write_video(features_dir, "v3", np.ones((3, CROPS, 512)), encoder=other)
    with pytest.raises(InputError, match=r"v3\.h5 holds features of another encoder"):
        list_bags(records, features_dir, CLASSES, LENGTH)
    feature_path(features_dir, "v3").write_bytes(b"dsanet-features sha256 ")
    with pytest.raises(FeatureFileError, match=r"v3\.h5 is damaged"):
        list_bags(records, features_dir, CLASSES, LENGTH)


def test_the_index_gives_the_facts_that_the_headers_give(
    records: list[VideoRecord], features_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also an index of an earlier version, once the headers have been read for it."""
    headers: list[str] = []
    read = dsanet.training.file_facts.read_facts
    monkeypatch.setattr(
        dsanet.training.file_facts,
        "read_facts",
        lambda paths: headers.extend(path.stem for path in paths) or read(paths),
    )

    def listed() -> BagList:
        headers.clear()
        return list_bags(records, features_dir, CLASSES, LENGTH)

    names, before = [record.name for record in records], listed()
    assert headers == names
    time.sleep(1.5e-9 * SETTLED_NS)
    with closing(FeatureIndex(features_dir)) as index:
        for name in names[:3]:
            index.features_digest(name)
        path = feature_path(features_dir, "v3")
        note = read_meta(path).model_dump_json()  # as written until November 2026
        index._digests.remember(path, file_state(path.stat()), file_digest(path), note)
    for unknown in (["v3", "v4"], ["v4"]):
        again = listed()
        assert headers == unknown
        assert (again.facts, again.key) == (before.facts, before.key)
    write_video(features_dir, "v1", np.ones((4, CROPS, 512)))
    assert listed().facts[1].snippets == 4
    assert headers == ["v1", "v4"]
    feature_path(features_dir, "v2").unlink()
    with pytest.raises(MissingFileError, match=r"no feature file .*v2\.h5"):
        listed()


def test_batches_are_read_a_little_ahead_and_an_error_comes_at_its_batch(
    listed: BagList, tmp_path: Path
) -> None:
    asked: list[int] = []

    def order() -> Iterator[np.ndarray]:
        for video in range(len(SNIPPETS)):
            asked.append(video)
            yield np.array([video * CROPS])

    listed.paths[1].unlink()
    with opened(listed, tmp_path) as bags, closing(read_ahead(bags, order(), CPU)) as batches:
        first = next(batches)
        assert (first.features_BTD.dtype, first.names) == (torch.float32, ("v0",))
        assert asked == [0, 1, 2]
        with pytest.raises(MissingFileError):
            next(batches)
    assert not [thread.name for thread in threading.enumerate() if "read-ahead" in thread.name]


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_batches_that_are_copied_ahead_to_a_gpu_are_those_on_the_cpu(
    name: str, listed: BagList, tmp_path: Path
) -> None:
    if (torch.device(name).index or 0) >= torch.cuda.device_count():
        pytest.skip(f"this machine has no {name}")
    device = torch.empty(0, device=name).device
    random = np.random.default_rng(0)
    order = [random.permutation(len(SNIPPETS) * CROPS) for _ in range(20)]
    work = torch.randn(2048, 2048, device=device)
    with opened(listed, tmp_path) as bags:
        sums = []
        for batch in read_ahead(bags, order, device):
            assert (batch.features_BTD.device, batch.lengths_B.device) == (device, CPU)
            for _ in range(20):  # the device is behind when the next batch is copied
                work = work @ work.T / 2048
            sums.append((batch.features_BTD, batch.features_BTD.double().sum((1, 2))))
        for batch, (features_BTD, sum_B) in zip(read_ahead(bags, order, CPU), sums, strict=True):
            assert torch.equal(batch.features_BTD, features_BTD.cpu())
            assert torch.allclose(batch.features_BTD.double().sum((1, 2)), sum_B.cpu())


def test_a_process_that_is_killed_is_replaced_and_one_that_always_is_becomes_an_error() -> None:
    with ReaderProcesses(1) as processes:
        first = processes.call(os.getpid)
        assert first != os.getpid()
        assert processes.call(os.getpid) == first
        os.kill(first, signal.SIGKILL)
        assert processes.call(os.getpid) not in (first, os.getpid())
        with pytest.raises(InputError, match=r"ended 3 times: killed by SIGKILL, perhaps out of memory"):
            processes.call(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(RuntimeError, match=re.escape("ZeroDivisionError")):
            processes.call(divmod, 1, 0)
        last = processes.call(os.getpid)
    assert not psutil.pid_exists(last)


PARENT = """
import os, time
from dsanet.training.reader_processes import ReaderProcesses
processes = ReaderProcesses(1)
print(processes.call(os.getpid), flush=True)
time.sleep(60)
"""


def test_the_processes_end_with_the_training_also_when_it_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    with parent:
        assert parent.stdout is not None
        reader = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    psutil.wait_procs([reader], timeout=10)
    assert not reader.is_running()


class KilledError(Exception):
    pass


CONFIG = TrainConfig(epochs=4, batch_size=4, save_every=2)
"""8 steps with the videos of `make_footage`."""


def test_a_training_from_disk_has_the_bits_of_one_from_memory_also_if_it_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage, model = make_footage(tmp_path / "features"), detector_preset("mil-ranking", "small").model

    def kill(progress: TrainProgress) -> None:
        assert list((tmp_path / "disk" / DRAFT).glob("bags-*"))
        if progress.step == 3:
            raise KilledError

    with pytest.raises(KilledError):
        train(footage.records, footage.features_dir, tmp_path / "disk", model, CONFIG, on_progress=kill)
    train(footage.records, footage.features_dir, tmp_path / "disk", model, CONFIG)
    monkeypatch.undo()
    train(footage.records, footage.features_dir, tmp_path / "memory", model, CONFIG)
    assert files(tmp_path / "memory") == files(tmp_path / "disk")


def test_a_damaged_feature_file_ends_a_training_from_disk_in_one_line(tmp_path: Path) -> None:
    footage, model = make_footage(tmp_path / "features"), detector_preset("mil-ranking", "small").model
    path = feature_path(footage.features_dir, footage.records[1].name)
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(FeatureFileError, match=rf"{path.name} is damaged: its checksum does not match"):
        train(footage.records, footage.features_dir, tmp_path / "model", model, CONFIG)
    path.write_bytes(content)
    train(footage.records, footage.features_dir, tmp_path / "model", model, CONFIG)


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


TRAINING = """
import sys
from pathlib import Path
import dsanet.training.bag_sources as bag_sources
from dsanet.detectors.registry import detector_preset
from dsanet.training.train import train
from tests.dsanet.helpers import make_footage
from tests.dsanet.test_bags_on_disk import CONFIG
bag_sources.IN_MEMORY_VIDEOS = 0 if sys.argv[3] == "disk" else 1000
footage = make_footage(Path(sys.argv[1]))
train(footage.records, footage.features_dir, Path(sys.argv[2]), detector_preset("mil-ranking", "small").model,
      CONFIG, on_progress=lambda progress: print(progress.step, flush=True))
"""


@pytest.mark.slow
def test_a_process_killed_outright_leaves_no_readers_and_resumes_to_the_same_bits(tmp_path: Path) -> None:
    def start(out: str, source: str) -> subprocess.Popen[str]:
        arguments = [sys.executable, "-c", TRAINING, str(tmp_path / "features"), str(tmp_path / out), source]
        return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])

    assert start("memory", "memory").communicate()[0].split() == [str(step) for step in range(1, 9)]
    process = start("disk", "disk")
    assert process.stdout is not None
    while process.stdout.readline().strip() != "3":
        pass
    readers = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert readers
    psutil.wait_procs(readers, timeout=10)
    assert not [reader for reader in readers if reader.is_running()]
    assert start("disk", "disk").communicate()[0].split()[-1] == "8"
    assert files(tmp_path / "memory") == files(tmp_path / "disk")
