"""A real HTTP S3 endpoint, and a proxy before it that fails as networks and services do."""

from __future__ import annotations

import http.client
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moto.server import ThreadedMotoServer

_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive", "server", "date"}


class Endpoint:
    """An S3 endpoint. Of the requests whose method and path hold `method` and `part`, the next ones fail.

    Each of `faults` is one of them: a status, or `cut` for an answer that ends in its middle.
    """

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port, self.url = host, port, ""
        self.faults: list[int | str] = []
        self.method, self.part = "", ""
        self.asked: list[tuple[str, str]] = []

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

    def fail(self, *faults: int | str, method: str = "", part: str = "") -> None:
        """Have the next requests of that kind fail."""
        self.faults, self.method, self.part = list(faults), method, part


@contextmanager
def s3_endpoint() -> Iterator[Endpoint]:
    """Serve S3 through the proxy, on ports that the kernel chooses."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    service = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    service.start()
    host, port = service.get_host_and_port()
    endpoint = Endpoint(host, port)

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            endpoint.asked.append((self.command, self.path))
            fits = endpoint.method in self.command and endpoint.part in self.path
            fault = endpoint.faults.pop(0) if endpoint.faults and fits else None
            if isinstance(fault, int):
                code = {403: "AccessDenied", 503: "SlowDown"}.get(fault, "InternalError")
                self._answer(fault, {}, f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())
                return
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
