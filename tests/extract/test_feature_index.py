"""Videos and feature files are read once, again only after a change, and damaged ones are noticed."""

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from extract import feature_index
from extract.config import ExtractConfig, ExtractRuntime
from extract.digest_index import INDEX_FILE, SETTLED_NS
from extract.engine import ExtractResult, extract_videos
from extract.feature_index import FeatureIndex
from extract.inspect import verify_features
from extract.source import KnownDigest, file_digest, file_state, video_state
from extract.store import FeatureFileError, feature_path, read_meta, write_features
from tests.extract.numbered_clips import NumberEncoder, make_clip, records_of
from tests.extract.test_store import some_features

Reads = list[Path]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Reads:
    """The files that the index reads in this process."""
    found: Reads = []
    digest, parse = feature_index.file_digest, feature_index.parse_features
    monkeypatch.setattr(feature_index, "file_digest", lambda path: found.append(path) or digest(path))
    monkeypatch.setattr(
        feature_index, "parse_features", lambda path, image: found.append(path) or parse(path, image)
    )
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the feature file `clip.h5`, old enough to be remembered."""
    write_features(feature_path(tmp_path, "clip"), some_features())
    settle()
    return tmp_path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", 20, size=(96, 96))


@pytest.fixture
def video(clip: Path, tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    copy = Path(shutil.copy2(clip, tmp_path / "videos" / "a.mp4"))
    settle()
    return copy


def settle() -> None:
    time.sleep(1.5e-9 * SETTLED_NS)


def extract(video: Path, **runtime: object) -> ExtractResult:
    settings = ExtractRuntime.model_validate({"workers": 1, "timeout_s": 20, **runtime})
    out = video.parent / "out"
    return extract_videos(records_of(video), out, ExtractConfig(), settings, encoder=NumberEncoder())


def damage(path: Path) -> None:
    """Flip a bit; the size stays."""
    image = bytearray(path.read_bytes())
    image[-100] ^= 1
    path.write_bytes(image)
    settle()


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))
    settle()


def replace_keeping_time(path: Path) -> None:
    """The same content, size and time, but another inode."""
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.replace(path)
    settle()


def test_a_feature_file_is_read_once_for_its_digest_and_metadata(folder: Path, reads: Reads) -> None:
    path = feature_path(folder, "clip")
    for _ in range(2):  # the second index finds the file of the first one
        index = FeatureIndex(folder)
        assert index.features_digest("clip") == file_digest(path)
        assert index.read_meta("clip") == read_meta(path)
        assert index.is_known("clip")
        index.close()
    assert reads == [path]
    assert FeatureIndex(folder).features_digest("none") is None


@pytest.mark.parametrize("change", [touch, replace_keeping_time, damage])
def test_it_is_read_again_after_any_change(
    change: Callable[[Path], None], folder: Path, reads: Reads
) -> None:
    path, index = feature_path(folder, "clip"), FeatureIndex(folder)
    index.features_digest("clip")
    change(path)
    assert not index.is_known("clip")
    assert index.features_digest("clip") == file_digest(path)
    assert reads == [path, path]


def test_a_damaged_feature_file_is_never_taken_for_a_known_one(folder: Path) -> None:
    index = FeatureIndex(folder)
    index.features_digest("clip")
    damage(feature_path(folder, "clip"))
    for _ in range(2):
        with pytest.raises(FeatureFileError, match="is damaged"):
            index.read_meta("clip")
        assert index.features_digest("clip") == file_digest(feature_path(folder, "clip"))
    with pytest.raises(FileNotFoundError, match="no feature file"):
        index.read_meta("none")


def test_a_file_written_just_now_by_others_is_not_remembered(tmp_path: Path, reads: Reads) -> None:
    index = FeatureIndex(tmp_path)
    for snippets in (3, 4):
        write_features(feature_path(tmp_path, "clip"), some_features(snippets=snippets))
        assert index.read_meta("clip").source.n_frames == 16 * snippets
    assert len(reads) == 2


def test_what_is_written_through_the_index_need_not_be_read(tmp_path: Path, reads: Reads) -> None:
    index, features = FeatureIndex(tmp_path), some_features()
    index.write(features)
    assert index.features_digest("clip") == file_digest(feature_path(tmp_path, "clip"))
    assert index.read_meta("clip") == features.meta
    assert reads == []


def test_metadata_of_a_later_version_are_read_from_the_file(folder: Path, reads: Reads) -> None:
    index, path = FeatureIndex(folder), feature_path(folder, "clip")
    index._digests.remember(path, file_state(path.stat()), file_digest(path), '{"unknown": 1}')
    assert index.read_meta("clip") == some_features().meta
    assert reads == [path]


def test_verify_reads_every_byte_and_the_next_extraction_mends(video: Path) -> None:
    """The damage leaves no trace in size, times and inode: as a disk that loses a bit."""
    assert extract(video).extracted == ["a"]
    out, path = video.parent / "out", feature_path(video.parent / "out", "a")
    whole, index = path.read_bytes(), FeatureIndex(out)
    meta, digest = index.read_meta("a"), index.features_digest("a")
    assert digest is not None
    damage(path)
    index._digests.remember(path, file_state(path.stat()), digest, meta.model_dump_json())
    index.close()
    assert extract(video).extracted == []
    seen: list[tuple[int, int]] = []
    files, (problem,) = verify_features(out, lambda done, total: seen.append((done, total)))
    assert (files, seen) == (1, [(1, 1)])
    assert problem.startswith(f"{path} is damaged")
    assert extract(video).extracted == ["a"]
    assert path.read_bytes() == whole
    assert verify_features(out) == (1, [])


def test_verify_makes_no_index(folder: Path) -> None:
    damage(feature_path(folder, "clip"))
    assert len(verify_features(folder)[1]) == 1
    assert not (folder / INDEX_FILE).exists()


def test_a_video_is_hashed_once_while_it_is_decoded(video: Path, reads: Reads) -> None:
    for _ in range(2):
        extract(video)
    known = FeatureIndex(video.parent / "out").known_digest(video)
    assert known == KnownDigest(video_state(video.stat()), file_digest(video))
    assert reads == []


def test_a_video_whose_digest_is_known_is_not_hashed_again(video: Path) -> None:
    """As footage that an inbox has read."""
    (video.parent / "out").mkdir()
    index, marked = FeatureIndex(video.parent / "out"), "ab" * 32
    index._digests.remember(video, video_state(video.stat()), marked)
    index.close()
    extract(video)
    assert read_meta(feature_path(video.parent / "out", "a")).source.sha256 == marked


def test_a_known_digest_of_another_state_does_not_count(video: Path) -> None:
    (video.parent / "out").mkdir()
    index = FeatureIndex(video.parent / "out")
    index._digests.remember(video, video_state(video.stat())._replace(inode=1), "ab" * 32)
    index.close()
    extract(video)
    assert read_meta(feature_path(video.parent / "out", "a")).source.sha256 == file_digest(video)


@pytest.mark.parametrize("change", [touch, replace_keeping_time])
def test_a_video_that_may_have_changed_is_read_once(
    change: Callable[[Path], None], video: Path, reads: Reads
) -> None:
    extract(video)
    change(video)
    for _ in range(2):
        assert extract(video).extracted == []
    assert reads == [video]


def test_another_content_with_the_size_and_time_of_the_old_one(video: Path) -> None:
    extract(video)
    content, status = bytearray(video.read_bytes()), video.stat()
    content[-1] ^= 1
    other = video.with_name("other.mp4")
    other.write_bytes(content)
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(video)
    assert extract(video).extracted == ["a"]


def test_without_the_index_features_are_reused_and_no_video_is_read(video: Path, reads: Reads) -> None:
    extract(video)
    index, path = video.parent / "out" / INDEX_FILE, feature_path(video.parent / "out", "a")
    index.unlink()
    settle()
    for _ in range(2):
        assert extract(video).extracted == []
    assert reads == [path]


def test_a_copied_folder_reads_its_feature_files_once(video: Path, reads: Reads) -> None:
    extract(video)
    folder = Path(shutil.copytree(video.parent, video.parent.with_name("copy")))
    settle()
    for _ in range(2):
        assert extract(folder / "a.mp4").extracted == []
    assert reads == [feature_path(folder / "out", "a")]


def test_a_video_that_is_gone_keeps_the_digest_of_its_feature_file(video: Path) -> None:
    extract(video)
    index = FeatureIndex(video.parent / "out")
    source = index.read_meta("a").source
    video.unlink()
    assert index.known_digest(video) is None
    assert index.recorded_digest(video, source) == source.sha256
    assert index.recorded_digest(video.parent, replace(source, size=-1)) is None
