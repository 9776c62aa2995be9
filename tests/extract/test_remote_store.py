"""The object store: one request an object, conditions, retries, and errors in plain words."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from extract.errors import InputError, MissingFileError
from extract.remote.store import Store, StoreError, address_of, is_remote
from tests.object_store import ACCESS, S3Server
from tests.store_proxy import proxied


def test_addresses_are_recognised_also_after_pathlib() -> None:
    assert is_remote("s3://bucket/a")
    assert is_remote(Path("s3://bucket/a"))
    assert is_remote("gs://bucket")
    assert not is_remote("/videos/a.mp4")
    assert not is_remote(Path("videos/s3:/a"))
    assert not is_remote("C:\\a")
    assert address_of(Path("s3://bucket/a b/")) == "s3://bucket/a b"


@pytest.mark.parametrize("place", ["s3://", "s3:///key", "/videos"])
def test_what_is_no_address_is_refused(place: str) -> None:
    with pytest.raises(InputError, match="expected s3://BUCKET/PREFIX"):
        address_of(place)


def test_credentials_in_an_address_are_refused_and_not_repeated() -> None:
    with pytest.raises(InputError, match="holds credentials") as error:
        Store("s3://key:hidden@bucket/prefix")
    assert "hidden" not in str(error.value)


def test_objects_come_back_as_they_were_written(bucket: str, tmp_path: Path) -> None:
    store = Store(f"{bucket}/prefix")
    assert store.list() == {}
    assert store.state("a") is None
    (tmp_path / "in").write_bytes(b"content")
    store.upload(tmp_path / "in", "features/a.h5")
    store.write("b", b"other")
    Store(bucket).write("prefix2/c", b"not below the address")
    listed = store.list()
    assert {key: state.size for key, state in listed.items()} == {"features/a.h5": 7, "b": 5}
    assert store.state("b") == listed["b"]
    assert listed["b"].tag
    assert listed["b"].mtime_ns > 0
    store.download("features/a.h5", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"content"
    assert store.read("b") == b"other"
    store.delete("b")
    store.delete("b")
    assert list(store.list()) == ["features/a.h5"]
    with pytest.raises(MissingFileError, match=r"no object s3://.*/prefix/b"):
        store.read("b")
    with pytest.raises(MissingFileError, match="no object"):
        store.download("b", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"content"
    assert len(list(tmp_path.iterdir())) == 2


def test_one_of_many_creates_an_object_and_one_replaces_it(bucket: str) -> None:
    store = Store(bucket)
    contents = [f"content {number}".encode() for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda content: store.create("lock", content), contents))
        assert created.count(True) == 1
        assert store.read("lock") == contents[created.index(True)]
        tag = store.list()["lock"].tag
        others = [content.upper() for content in contents]
        replaced = list(pool.map(lambda content: store.replace("lock", content, tag), others))
    assert replaced.count(True) == 1
    assert store.read("lock") == others[replaced.index(True)]
    store.delete("lock")
    assert not store.replace("lock", b"gone", tag)


def test_a_store_that_comes_back_is_asked_again(s3: S3Server, bucket: str) -> None:
    store = Store(bucket)
    store.write("a", b"1")
    s3.stop()
    timer = threading.Timer(2.0, s3.start)
    timer.start()
    try:
        assert store.read("a") == b"1"
    finally:
        timer.join()


def test_a_store_that_stays_away_is_an_error_in_one_line(s3: S3Server, bucket: str) -> None:
    store = Store(bucket, patience_s=0.1)
    s3.stop()
    try:
        with pytest.raises(StoreError, match="has not answered for 0 s") as error:
            store.list()
    finally:
        s3.start()
    assert ACCESS["AWS_SECRET_ACCESS_KEY"] not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_bucket_is_empty_and_cannot_be_written(s3: S3Server) -> None:
    store = Store("s3://no-such-bucket-here/a")
    assert store.list() == {}
    with pytest.raises(StoreError, match="no bucket"):
        store.write("a", b"1")


def test_other_stores_of_fsspec_work_too() -> None:
    store = Store("memory://folder/sub")
    store.write("a/b", b"1")
    assert {key: state.size for key, state in store.list().items()} == {"a/b": 1}
    assert not store.compares


def test_an_unknown_store_is_named() -> None:
    with pytest.raises(InputError, match="unknown://"):
        Store("unknown://bucket").list()


@pytest.mark.slow
def test_an_upload_in_parts_survives_faults_and_appears_as_a_whole(
    s3: S3Server, bucket: str, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20) * 110  # parts from 100 MB on
    (tmp_path / "large").write_bytes(content)
    with proxied(s3.port) as proxy:
        proxy.faults += [
            ("PUT partNumber=2", "cut"),
            ("PUT partNumber", "slow down"),
            ("POST uploadId=", "lose"),
        ]
        written = Store(bucket).upload(tmp_path / "large", "large")
        assert not proxy.faults
    assert written.size == len(content)
    assert Store(bucket).read("large") == content
    with pytest.raises(StoreError, match="no bucket"):
        Store("s3://no-such-bucket-here/a").upload(tmp_path / "large", "large")
