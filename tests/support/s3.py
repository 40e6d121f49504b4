"""A real HTTP S3 endpoint, and a proxy before it that fails as networks and services do.

The proxy also does what moto does not: it refuses links that have expired, and bodies that are not what their MD5 says.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "server", "date"}


_CODES = {400: "BadDigest", 403: "AccessDenied", 412: "PreconditionFailed", 503: "SlowDown"}


class Endpoint:
    """An S3 endpoint. Of the requests whose method and path hold `method` and `part`, the next ones fail.

    Each of `faults` is one of them: a status, `cut` for what ends in its middle, None for none. With `together` they
    are answered when so many are there.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.url = host, port, ""
        self.faults: list[int | str | None] = []
        self.method, self.part = "", ""
        self.together: threading.Barrier | None = None
        self.asked: list[tuple[str, str]] = []
        self.sent = 0  #: bytes of bodies that came through
        self.now = lambda: datetime.now(timezone.utc)

    def ask(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[Any, bytes]:
        """Ask the service itself."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=60)
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer, content

    def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        assert self.ask("PUT", f"/{name}")[0].status == 200

    def fail(self, *faults: int | str | None, method: str = "", part: str = "") -> None:
        """Have the next requests of that kind fail."""
        self.faults, self.method, self.part, self.together = list(faults), method, part, None

    def has_expired(self, path: str) -> bool:
        """Return whether an address is a link that does not work any more."""
        query = parse_qs(urlsplit(path).query)
        if "X-Amz-Expires" not in query:
            return False
        signed = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)
        return self.now() > signed + timedelta(seconds=int(query["X-Amz-Expires"][0]))


@contextmanager
def s3_endpoint() -> Iterator[Endpoint]:
    """Serve S3 through the proxy, on ports that the kernel chooses."""
    from moto.server import ThreadedMotoServer  # a second, for the tests that need it

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    service = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    endpoint = Endpoint(host, port)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            endpoint.asked.append((self.command, self.path))
            fits = endpoint.method in self.command and endpoint.part in self.path
            fault = endpoint.faults.pop(0) if endpoint.faults and fits else None
            if endpoint.together is not None and fits:
                endpoint.together.wait(60)
            if fault == "cut" and length:
                self.rfile.read(length // 2)
                self.close_connection = True
                return
            body = self.rfile.read(length)
            if endpoint.has_expired(self.path):
                fault = 403
            md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
            if self.headers.get("Content-MD5", md5) != md5:
                fault = 400
            if isinstance(fault, int):
                code = _CODES.get(fault, "InternalError")
                self._answer(fault, {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
                return
            endpoint.sent += len(body)
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            answer, content = endpoint.ask(self.command, self.path, body, headers)
            self._answer(answer.status, dict(answer.getheaders()), content, cut=fault == "cut")

        def _answer(self, status: int, headers: dict[str, str], content: bytes, *, cut: bool = False) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in _HOP:
                    self.send_header(name, value)
            length = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.close_connection = True

        do_PUT = do_POST = do_HEAD = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    endpoint.url = f"http://127.0.0.1:{proxy.server_port}"
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield endpoint
    finally:
        proxy.shutdown()
        proxy.server_close()
        service.stop()


@pytest.fixture(scope="session")
def s3() -> Iterator[Endpoint]:
    """One endpoint for all tests."""
    with s3_endpoint() as running:
        yield running


@pytest.fixture
def endpoint(s3: Endpoint) -> Iterator[Endpoint]:
    """The endpoint, without faults."""
    s3.fail()
    s3.asked.clear()
    s3.sent = 0
    now = s3.now
    yield s3
    s3.fail()
    s3.now = now


@pytest.fixture
def bucket(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, and the variables by which it is found."""
    name = f"b-{uuid.uuid4().hex[:12]}"
    endpoint.make_bucket(name)
    for variable, value in {
        "AWS_ENDPOINT_URL": endpoint.url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "very-secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(variable, value)
    return name
