"""Runs again: what is read, what is hashed, and what a cached run does without."""

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from prefect import flow

from extract import feature_index
from extract.digest_index import INDEX_FILE, SETTLED_NS
from extract.errors import InputError
from extract.source import file_digest, file_state
from extract.store import FeatureFileError, feature_path
from flows.pipeline.cache import Stage
from flows.pipeline.prefect_flows import extract
from flows.workspace.inputs import configure_workspace
from flows.workspace.run import Run
from flows.workspace.workspace import Workspace
from tests.flows.test_cache import small_run
from tests.flows.tiny import SETTINGS, tiny_footage

Reads = list[Path]
CACHED = "(Cached)"


@contextmanager
def recorded_reads() -> Iterator[Reads]:
    """The files that this process reads for their digests."""
    found: Reads = []
    digest, parse = feature_index.file_digest, feature_index.parse_features
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_index, "file_digest", lambda path: found.append(path) or digest(path))
        patch.setattr(
            feature_index, "parse_features", lambda path, image: found.append(path) or parse(path, image)
        )
        yield found


@pytest.fixture
def reads() -> Iterator[Reads]:
    with recorded_reads() as found:
        yield found


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Reads]:
    """A workspace `ws` beside its footage `clips`, after its extraction, and what that has read."""
    folder = tmp_path_factory.mktemp("rerun")
    manifest = tiny_footage(folder / "clips")
    configure_workspace(folder / "ws", manifest, preset="small", weights="random", settings=SETTINGS)
    settle()
    with recorded_reads() as found:
        extract(folder / "ws")
    settle()
    return Workspace(folder / "ws"), found


@pytest.fixture
def extracted(first_run: tuple[Workspace, Reads]) -> Workspace:
    return first_run[0]


def settle() -> None:
    time.sleep(1.5e-9 * SETTLED_NS)


def outcome(root: Path, caplog: pytest.LogCaptureFixture) -> str:
    """The log line of an extraction."""
    caplog.clear()
    with caplog.at_level(logging.INFO, logger="flows"):
        extract(root)
    settle()
    return next(line for line in caplog.messages if line.startswith("extract "))


def test_no_video_is_read_before_it_is_decoded_and_the_result_is_cached(
    first_run: tuple[Workspace, Reads], reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, at_first = first_run
    line = outcome(workspace.root, caplog)
    assert "4 videos, 0 of them reused" in line
    assert line.endswith(CACHED)
    assert [path for path in (*at_first, *reads) if path.suffix in (".mp4", ".h5")] == []


@pytest.mark.parametrize(
    "damage", [Path.unlink, lambda index: index.write_bytes(os.urandom(5000)), lambda index: None]
)
def test_the_index_is_a_cache(
    damage: Callable[[Path], object],
    extracted: Workspace,
    tmp_path: Path,
    reads: Reads,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Also in a copied workspace, whose files are others: they are read once."""
    root = Path(shutil.copytree(extracted.root, tmp_path / "ws"))
    damage(root / "features" / INDEX_FILE)
    settle()
    for _ in range(2):
        assert outcome(root, caplog).endswith(CACHED)
    assert sorted(reads) == sorted((root / "features").glob("*.h5"))


def test_touched_videos_are_read_once_and_their_features_kept(
    extracted: Workspace, tmp_path: Path, reads: Reads, caplog: pytest.LogCaptureFixture
) -> None:
    folder = Path(shutil.copytree(extracted.root.parent, tmp_path / "copy"))
    root, videos = folder / "ws", sorted((folder / "clips").glob("*.mp4"))
    configure_workspace(root, folder / "clips" / "manifest.csv", settings=SETTINGS)
    for video in videos:
        os.utime(video, ns=(1, 1))
    settle()
    assert "4 videos, 4 of them reused" in outcome(root, caplog)
    assert outcome(root, caplog).endswith(CACHED)
    assert sorted(path for path in reads if path.suffix == ".mp4") == videos


def test_a_file_found_damaged_by_a_stage_is_made_again(tmp_path: Path) -> None:
    """Its size, times and inode are the recorded ones, as after a bit that a disk has lost."""
    run = small_run(tmp_path)
    path = feature_path(run.workspace.features, "clip")
    path.parent.mkdir()
    path.write_bytes(b"damaged")
    run.index._digests.remember(path, file_state(path.stat()), file_digest(path))
    assert run.index.is_known("clip")

    def work(run: Run) -> str:
        raise FeatureFileError(f"{path} is damaged", path)

    stage = Stage("stage", 1, lambda run: 0, work, lambda run: None, lambda run: None)

    @flow
    def one() -> None:
        stage(run)

    with pytest.raises(InputError, match="is damaged"):
        one()
    assert not run.index.is_known("clip")


def test_inputs_that_the_work_finds_are_recorded_after_it(tmp_path: Path) -> None:
    run, worked = small_run(tmp_path), []

    def stage(known: bool = True) -> Stage:
        return Stage(
            "stage",
            1,
            lambda run: {"found": 1} if worked and known else None,
            lambda run: worked.append(1) or "done",
            lambda run: "digest",
            lambda run: None,
        )

    @flow
    def one(stage: Stage) -> str:
        return stage(run).summary

    assert [one(stage(known=False)), len(worked)] == ["done", 1]
    assert not run.workspace.cache.exists() or not any(run.workspace.cache.iterdir())
    worked.clear()
    for _ in range(2):
        assert [one(stage()), len(worked)] == ["done", 1]
    (record,) = run.workspace.cache.iterdir()
    assert record.name == stage().cache_key(run)


CHILD = """
import sys
from flows.cli.main import main
sys.argv = ["dsanet", "extract", "--out", sys.argv[1]]
try:
    main()
except SystemExit as end:
    assert not end.code
print(sorted({"torch", "open_clip", "sklearn", "matplotlib"} & sys.modules.keys()))
"""


def test_a_cached_command_loads_no_library_that_computes(extracted: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(extracted.root)], capture_output=True, text=True, check=True
    )
    assert done.stderr.rstrip().endswith(CACHED) or CACHED in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_flows_are_read_without_pytorch() -> None:
    """With their parameters' schemas, which have the settings of every detector."""
    code = "import sys, flows.pipeline.prefect_flows; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
