"""An S3 server for tests, on 127.0.0.1: moto's, in threads of the test process.

It can be stopped, which refuses connections, and started again with all its objects.
"""

import os
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

ACCESS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "a-secret-that-must-appear-nowhere",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3Server:
    """The server; `environment` makes processes use it."""

    def __init__(self) -> None:
        from moto.server import ThreadedMotoServer

        self._new = ThreadedMotoServer
        self._server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
        self._server.start()
        _, self.port = self._server.get_host_and_port()
        self.environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}", **ACCESS}

    def stop(self) -> None:
        """Refuse connections from now on."""
        self._server.stop()

    def start(self) -> None:
        """Answer again, with the objects of before."""
        self._server = self._new("127.0.0.1", self.port, verbose=False)
        self._server.start()

    def new_bucket(self) -> str:
        """Name of a new, empty bucket."""
        import fsspec

        name = f"bucket-{uuid.uuid4().hex[:12]}"
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir(name)
        return name


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Start the server, and set this process's environment for it."""
    server = S3Server()
    before = {name: os.environ.get(name) for name in server.environment}
    os.environ.update(server.environment)
    try:
        yield server
    finally:
        server.stop()
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """The S3 server of the test process; skips where its packages are not installed."""
    pytest.importorskip("s3fs", reason='the tests of object stores need `pip install "dsanet[s3]"`')
    pytest.importorskip("moto", reason="the tests of object stores need moto")
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket(s3: S3Server) -> str:
    """A new bucket, as an address."""
    return f"s3://{s3.new_bucket()}"


@pytest.fixture
def store_requests(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Number of requests that this process has sent to the store, by the name of the operation."""
    from aiobotocore.client import AioBaseClient

    counts: Counter[str] = Counter()
    send = AioBaseClient._make_api_call

    async def counted(self: AioBaseClient, operation: str, arguments: dict[str, object]) -> object:
        counts[operation] += 1
        return await send(self, operation, arguments)

    monkeypatch.setattr(AioBaseClient, "_make_api_call", counted)
    return counts
