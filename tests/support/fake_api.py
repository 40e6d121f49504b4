"""A server that answers what a test tells it to, and a home whose server.json names it."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from opengrid import __version__
from opengrid.client.home import boot_id


@dataclass(frozen=True)
class Asked:
    """One request that the server got."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class FakeApi:
    """Answers by (method, path): a document, bytes, (status, document), or what a function makes of the request."""

    answers: dict[tuple[str, str], Any] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    home: Path = Path()

    def on(self, method: str, path: str, answer: Any) -> None:
        self.answers[method, path] = answer

    def only(self, method: str, path: str) -> Asked:
        """Return the one request of this kind."""
        (found,) = [a for a in self.asked if (a.method, a.path) == (method, path)]
        return found

    def answer(self, asked: Asked) -> tuple[int, bytes]:
        self.asked.append(asked)
        answer: Any = self.answers.get((asked.method, asked.path))
        if isinstance(answer, Callable):
            answer = answer(asked)
        if answer is None:
            answer = (404, {"error": {"code": "not_found", "message": f"no {asked.path}", "hint": None}})
        status, document = answer if isinstance(answer, tuple) else (200, answer)
        return status, document if isinstance(document, bytes) else json.dumps(document).encode()


@contextmanager
def serving(home: Path) -> Iterator[FakeApi]:
    """Serve, with a home that names the server; the process that stands for it does nothing."""
    api = FakeApi(home=home)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(api))
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    process = subprocess.Popen(["/bin/sh", "-c", "read _", "opengrid.server"], stdin=subprocess.PIPE)
    home.mkdir(parents=True, exist_ok=True)
    about = {
        "pid": process.pid,
        "url": f"http://127.0.0.1:{server.server_port}",
        "version": __version__,
        "started_at": "2026-11-23T10:00:00+00:00",
        "home": str(home),
        "host": "here",
        "boot_id": boot_id(),
    }
    (home / "server.json").write_text(json.dumps(about))
    (home / "token").write_text("secret")
    api.on("GET", "/api/v1/server", {key: about[key] for key in ("pid", "url", "version", "started_at", "home")})
    try:
        yield api
    finally:
        process.kill()
        process.communicate()
        server.shutdown()
        server.server_close()


def _handler(api: FakeApi) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, content = api.answer(Asked(self.command, parts.path, dict(parse_qsl(parts.query)), body))
            self.send_response(status)
            self.send_header("Grid-Version", __version__)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
