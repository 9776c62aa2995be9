"""A proxy in front of the S3 server of the tests: it throttles, cuts uploads off and loses answers."""

import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"

REFUSED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


class Proxy:
    """Forwards requests; `faults` are used up by the next requests of their method."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.faults: list[tuple[str, str]] = []
        """Method, also with a part of the path, and kind: `slow down` (answer 503), `refuse` (answer 403),
        `cut` (close in the middle of the body), `lose` (close instead of answering), `half` (close in the
        middle of the answer)."""
        self.requests: list[tuple[str, str]] = []
        """Method and path of each request that was forwarded."""
        self._turn = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def take_fault(self, method: str, path: str) -> str:
        with self._turn:
            for fault in self.faults:
                wanted, _, part = fault[0].partition(" ")
                if wanted == method and part in path:
                    self.faults.remove(fault)
                    return fault[1]
        return ""

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                fault = proxy.take_fault(self.command, self.path)
                length = int(self.headers.get("Content-Length") or 0)
                if fault == "cut":
                    self.rfile.read(length // 2)
                    self._hang_up()
                    return
                body = self.rfile.read(length)
                if fault == "slow down":
                    self._answer(503, {"Content-Type": "application/xml"}, SLOW_DOWN)
                    return
                if fault == "refuse":
                    self._answer(403, {"Content-Type": "application/xml"}, REFUSED)
                    return
                proxy.requests.append((self.command, self.path))
                connection = http.client.HTTPConnection("127.0.0.1", proxy.target_port, timeout=30)
                connection.request(self.command, self.path, body, dict(self.headers))
                found = connection.getresponse()
                content, headers = found.read(), dict(found.getheaders())
                connection.close()
                if fault == "lose":
                    self._hang_up()
                    return
                self._answer(found.status, headers, content, half=fault == "half")

            do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any

            def _hang_up(self) -> None:
                self.close_connection = True
                self.connection.close()

            def _answer(
                self, status: int, headers: dict[str, str], content: bytes, *, half: bool = False
            ) -> None:
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(content))
                self.send_header("Content-Length", length)
                self.end_headers()
                if half:
                    self.wfile.write(content[: len(content) // 2])
                    self._hang_up()
                elif self.command != "HEAD":
                    self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler


@contextmanager
def proxied(target_port: int) -> Iterator[Proxy]:
    """A proxy that this process uses inside."""
    from s3fs import S3FileSystem

    proxy = Proxy(target_port)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "AWS_ENDPOINT_URL", f"http://127.0.0.1:{proxy.port}")
        S3FileSystem.clear_instance_cache()
        try:
            yield proxy
        finally:
            proxy.close()
    S3FileSystem.clear_instance_cache()
