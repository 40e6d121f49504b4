"""A real HTTP server of files, which cuts connections, holds them, and knows parts as well as is wanted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_DROP = 16 << 10


class Web:
    """Files by path. Each of `cuts` ends one answer after so many bytes; `holds_at` keeps all there, unfinished."""

    def __init__(self) -> None:
        self.url = ""
        self.content: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cuts: list[int] = []
        self.holds_at: int | None = None
        self.drips = False  #: whether what is held comes little by little
        self.go_on = threading.Event()
        self.tag: str | None = '"v1"'
        self.modified_s: float | None = None  #: since 1970
        self.knows_ranges = self.knows_conditions = self.tells_sizes = True
        self.statuses: list[int] = []  #: each answers one request
        self.ranges: list[str | None] = []  #: that were asked for
        self.sent = 0  #: bytes

    @property
    def modified(self) -> str | None:
        """What it says of the last change."""
        return None if self.modified_s is None else formatdate(self.modified_s, usegmt=True)


@contextmanager
def serving_web() -> Iterator[Web]:
    """Serve on a port that the kernel chooses."""
    web = Web()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(web, self)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield web
    finally:
        web.go_on.set()
        server.shutdown()
        server.server_close()


def _answer(web: Web, asked: BaseHTTPRequestHandler) -> None:
    asked.close_connection = True
    if asked.path in web.redirects:
        asked.send_response(302)
        asked.send_header("Location", web.redirects[asked.path])
        asked.send_header("Content-Length", "0")
        asked.end_headers()
        return
    if asked.path not in web.content:
        asked.send_error(404)
        return
    web.ranges.append(asked.headers.get("Range"))
    if web.statuses:
        asked.send_error(web.statuses.pop(0))
        return
    content = web.content[asked.path]
    start = _start(web, asked)
    if start is not None and start >= len(content):
        asked.send_error(416)
        return
    asked.send_response(200 if start is None else 206)
    if start is not None:
        asked.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
    rest = content[start or 0 :]
    for name, value in (("ETag", web.tag), ("Last-Modified", web.modified)):
        if value is not None:
            asked.send_header(name, value)
    if web.tells_sizes:
        asked.send_header("Content-Length", str(len(rest)))
    else:
        asked.send_header("Transfer-Encoding", "chunked")
    asked.end_headers()
    is_held = web.holds_at is not None and len(rest) > web.holds_at
    cut = web.holds_at if is_held else web.cuts.pop(0) if web.cuts else None
    piece = rest[:cut]
    web.sent += len(piece)
    asked.wfile.write(piece if web.tells_sizes else b"%x\r\n%s\r\n" % (len(piece), piece) if piece else b"")
    asked.wfile.flush()
    if is_held:
        _hold(web, asked, rest[len(piece) :])
    elif cut is None and not web.tells_sizes:
        asked.wfile.write(b"0\r\n\r\n")


def _hold(web: Web, asked: BaseHTTPRequestHandler, rest: bytes) -> None:
    if not web.drips:
        web.go_on.wait(120)
        return
    with contextlib.suppress(OSError):  # whoever asked is gone
        while rest and not web.go_on.wait(0.01):
            web.sent += asked.wfile.write(rest[:_DROP])
            rest = rest[_DROP:]


def _start(web: Web, asked: BaseHTTPRequestHandler) -> int | None:
    """Return where the part begins that was asked for; None for all of it."""
    part, condition = asked.headers.get("Range"), asked.headers.get("If-Range")
    if part is None or not web.knows_ranges:
        return None
    if web.knows_conditions and condition is not None and condition not in (web.tag, web.modified):
        return None
    return int(part.removeprefix("bytes=").rstrip("-"))
