"""The feature file: written and read back, and every flipped bit detected."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from extract.config import EncoderFingerprint, ExtractConfig
from extract.inspect import summarise_features
from extract.store import (
    FeatureFileError,
    FeatureMeta,
    SourceInfo,
    VideoFeatures,
    content_digest,
    feature_path,
    read_features,
    read_meta,
    write_features,
)


def some_features(name: str = "clip", snippets: int = 5, crops: int = 1) -> VideoFeatures:
    random = np.random.default_rng(0)
    return VideoFeatures(
        name=name,
        features=random.normal(size=(snippets, crops, 512)).astype(np.float16),
        frame_index=np.arange(snippets) * 16 + 8,
        time_s=(np.arange(snippets) * 16 + 8) / 30,
        meta=FeatureMeta(
            source=SourceInfo(
                file_name="clip.mp4",
                sha256="ab" * 32,
                size=1234,
                mtime_ns=1_700_000_000_123_456_789,
                codec="h264",
                fps=30.0,
                n_frames=snippets * 16,
                width=320,
                height=240,
                duration_s=snippets * 16 / 30,
            ),
            encoder=EncoderFingerprint(
                architecture="ViT", weights_digest="cd" * 32, preprocessing="p", precision="fp32"
            ),
            config=ExtractConfig(crops=crops),
            decoder="pyav-sparse",
            decoder_reason="h264",
        ),
    )


@pytest.mark.parametrize("crops", [1, 5, 10])
def test_a_written_file_reads_back(tmp_path: Path, crops: int) -> None:
    path = feature_path(tmp_path, "clip")
    written = some_features(crops=crops)
    written = replace(written, start_s=np.arange(5) * 16 / 30, end_s=np.arange(1, 6) * 16 / 30)
    write_features(path, written)
    read = read_features(path)
    assert (read.name, read.meta) == (written.name, written.meta)
    for name in ("features", "frame_index", "time_s", "start_s", "end_s"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert read_meta(path) == written.meta
    assert [entry.name for entry in tmp_path.iterdir()] == ["clip.h5"]


def test_h5py_alone_opens_it(tmp_path: Path) -> None:
    write_features(tmp_path / "clip.h5", some_features())
    with h5py.File(tmp_path / "clip.h5") as file:
        assert file["features"].shape == (5, 1, 512)
        assert file.attrs["schema_version"] == 1
        assert file["source"].attrs["fps"] == 30
        assert file["encoder"].attrs["precision"] == "fp32"
        assert file["config"].attrs["snippet_length"] == 16


def test_equal_features_give_equal_bytes_and_digests(tmp_path: Path) -> None:
    for file_name, features in (
        ("a.h5", some_features()),
        ("b.h5", some_features()),
        ("c.h5", some_features("other")),
    ):
        write_features(tmp_path / file_name, features)
    a, b, c = (tmp_path / name for name in ("a.h5", "b.h5", "c.h5"))
    assert a.read_bytes() == b.read_bytes()
    assert content_digest(a) == content_digest(b) != content_digest(c)
    assert read_features(a).start_s is None  # as in files of earlier versions


def test_the_first_block_holds_the_digest_of_the_rest(tmp_path: Path) -> None:
    """Files of earlier versions must open: this layout is theirs."""
    path = tmp_path / "clip.h5"
    write_features(path, some_features())
    image = path.read_bytes()
    digest = hashlib.sha256(image[512:]).hexdigest()
    assert content_digest(path) == digest
    block = b"dsanet-features sha256 " + digest.encode() + b"\n"
    assert image[:512] == block + bytes(512 - len(block))
    path.write_bytes(b"dsanet-features sha256 \xff" + image[24:])
    assert content_digest(path) == "\ufffd" + digest[1:]  # differs from any digest; reading refuses the file


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.h5"
    write_features(path, some_features())
    with h5py.File(path, "r+") as file:
        file.attrs["schema_version"] = 2
    content = path.read_bytes()[512:]
    digest = hashlib.sha256(content).hexdigest().encode()
    path.write_bytes((b"dsanet-features sha256 " + digest + b"\n").ljust(512, b"\0") + content)
    with pytest.raises(FeatureFileError, match=r"clip\.h5 is not .* of schema 1: its schema_version is 2"):
        read_features(path)


def test_any_flipped_bit_is_detected(tmp_path: Path) -> None:
    path = tmp_path / "clip.h5"
    write_features(path, some_features(snippets=2))
    image = path.read_bytes()
    random = np.random.default_rng(0)
    everywhere = range(0, len(image), 37)
    for position in (*everywhere, len(image) - 1):
        damaged = bytearray(image)
        damaged[position] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(FeatureFileError, match=r"clip\.h5"):
            read_features(path)


@pytest.mark.parametrize("length", [0, 10, 512, 4000, -1])
def test_a_truncated_or_extended_file_is_detected(tmp_path: Path, length: int) -> None:
    path = tmp_path / "clip.h5"
    write_features(path, some_features())
    image = path.read_bytes()
    for damaged in (image[:length], image + b"\0"):
        path.write_bytes(damaged)
        with pytest.raises(FeatureFileError):
            read_features(path)


def test_another_hdf5_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["features"] = np.zeros((3, 512))
    with pytest.raises(FeatureFileError, match="is not a feature file: its signature is missing"):
        read_features(tmp_path / "foreign.h5")
    with pytest.raises(FeatureFileError, match=r"foreign\.h5 is not a feature file"):
        content_digest(tmp_path / "foreign.h5")
    with pytest.raises(FileNotFoundError, match="extract the video first"):
        read_features(tmp_path / "none.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"features": np.zeros((3, 1, 512), np.float16)},
            r"of clip are \(3, 1, 512\) float16, expected \(5, 1, 512\) float16",
        ),
        ({"features": np.zeros((5, 1, 512))}, "float64, expected"),
        ({"time_s": np.zeros(4)}, "of clip need one value per snippet"),
        ({"end_s": np.zeros(6)}, "of clip need one value per snippet"),
        ({"frame_index": np.zeros((5, 1), int), "time_s": np.zeros((5, 1))}, "need one value per snippet"),
        # Not refused before it is written, but when it is read back:
        ({"meta": some_features().meta.model_copy(update={"schema_version": 2})}, "its schema_version is 2"),
    ],
)
def test_wrong_content_is_refused_and_leaves_nothing_behind(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        write_features(tmp_path / "clip.h5", replace(some_features(), **changes))
    assert not list(tmp_path.iterdir())


def test_a_folder_is_summarised_and_checked(tmp_path: Path) -> None:
    write_features(tmp_path / "good.h5", some_features("good"))
    write_features(tmp_path / "renamed.h5", some_features("original"))
    write_features(tmp_path / "bad.h5", some_features("bad"))
    image = bytearray((tmp_path / "bad.h5").read_bytes())
    image[-1] ^= 1
    (tmp_path / "bad.h5").write_bytes(image)

    summaries = {summary.path.name: summary for summary in summarise_features(tmp_path)}
    assert summaries["good.h5"].snippets == 5
    assert summaries["good.h5"].meta is not None
    assert summaries["bad.h5"].meta is None
    assert {name for name, summary in summaries.items() if summary.problem} == {"bad.h5", "renamed.h5"}
    with pytest.raises(FileNotFoundError, match="extract features"):
        summarise_features(tmp_path / "none")
