"""HTTP/1.1 over one socket, as far as a client of our own server needs it.

Not http.client: importing that costs an agent 25 ms and 3 MB for mail headers and TLS, and there is an agent per
machine (per simulated machine on a laptop). TLS is imported when an address asks for it.
"""

from __future__ import annotations

import io
import selectors
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

_LINE_LIMIT = 65_536
_HEADERS_LIMIT = 256
_BLOCK = 1 << 16


class NotHttp(OSError):
    """What answers does not speak HTTP."""


class NoAnswer(ConnectionError):
    """The connection ended before the first byte of an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """Where to connect, and which way."""

    host: str
    port: int
    tls: bool = False
    certificate: str | None = None  #: file of the one certificate to trust; None: those that the system trusts
    proxy: tuple[str, int] | None = None  #: host and port of an HTTP proxy

    @property
    def authority(self) -> str:
        """`host:port` as in a Host header; the scheme's own port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Status and headers of an answer; names in lower case."""

    status: int
    headers: dict[str, str]
    has_body: bool
    keeps_alive: bool


class Connection:
    """One connection. Every method may raise OSError; the connection is then of no use but to close()."""

    def __init__(self, endpoint: Endpoint, *, timeout_s: float | None) -> None:
        self._endpoint = endpoint
        self._socket = _connect(endpoint, timeout_s)
        self._file = io.BufferedReader(self._socket.makefile("rb", buffering=0), _BLOCK)

    def set_timeout(self, timeout_s: float | None) -> None:
        """Give every later wait for the other side this long."""
        self._socket.settimeout(timeout_s)

    def is_stale(self) -> bool:
        """Return whether the other side has closed a connection that waits for its next request."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            return bool(selector.select(0))  # an answer before the question is none: end of stream, or garbage

    def send(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | BinaryIO | None, size: int
    ) -> None:
        """Send a request; `size` is the number of bytes that `body` still holds."""
        endpoint = self._endpoint
        if endpoint.proxy is not None and not endpoint.tls:
            target = f"http://{endpoint.authority}{target}"
        lines = [f"{method} {target} HTTP/1.1", f"Host: {endpoint.authority}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if size or method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {size}")
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a line break in a request's head")
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        if isinstance(body, bytes) and size < _BLOCK:
            self._socket.sendall(head + body)
            return
        self._socket.sendall(head)
        if isinstance(body, bytes):
            self._socket.sendall(body)
        elif body is not None:
            self._send_file(body, size)

    def _send_file(self, body: BinaryIO, size: int) -> None:
        while size > 0:
            block = body.read(min(size, _BLOCK))
            if not block:
                raise ValueError(f"the file to send ended {size} bytes early")
            self._socket.sendall(block)
            size -= len(block)

    def read_head(self, method: str) -> Head:
        """Read status and headers of the answer to a `method` request."""
        while True:
            status, version = self._read_status()
            headers = self._read_headers()
            if status >= 200:
                break
        has_body = method != "HEAD" and status not in (204, 304) and headers.get("content-length") != "0"
        framed = not has_body or "content-length" in headers or "chunked" in headers.get("transfer-encoding", "")
        keeps_alive = version != "HTTP/1.0" and framed and headers.get("connection", "").lower() != "close"
        return Head(status=status, headers=headers, has_body=has_body, keeps_alive=keeps_alive)

    def blocks(self, head: Head) -> Iterator[bytes]:
        """Yield the body of an answer as it arrives."""
        if not head.has_body:
            return
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            yield from self._chunks()
        elif "content-length" in head.headers:
            yield from self._exactly(_number(head.headers["content-length"], 10))
        else:
            while block := self._file.read1(_BLOCK):
                yield block

    def close(self) -> None:
        """Close; repeating it is harmless."""
        self._file.close()
        self._socket.close()

    def _read_status(self) -> tuple[int, str]:
        try:
            line = self._file.readline(_LINE_LIMIT)
        except ConnectionError as error:
            raise NoAnswer(*error.args) from error
        if not line:
            raise NoAnswer("the connection was closed")
        version, _, rest = line.decode("latin-1").strip().partition(" ")
        if not version.startswith("HTTP/1.") or not rest[:3].isdigit():
            raise NotHttp(f"what answers does not speak HTTP: {line[:40]!r}")
        return int(rest[:3]), version

    def _read_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for _ in range(_HEADERS_LIMIT):
            line = self._file.readline(_LINE_LIMIT)
            if line in (b"\r\n", b"\n"):
                return headers
            if not line.endswith(b"\n"):
                raise ConnectionError("the answer ended in its headers")
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        raise NotHttp("the answer has too many headers")

    def _chunks(self) -> Iterator[bytes]:
        while size := _number(self._file.readline(_LINE_LIMIT).split(b";")[0].decode("latin-1"), 16):
            yield from self._exactly(size)
            self._file.readline(_LINE_LIMIT)
        self._read_headers()  # trailers, normally none

    def _exactly(self, size: int) -> Iterator[bytes]:
        while size > 0:
            block = self._file.read1(min(size, _BLOCK))
            if not block:
                raise ConnectionError(f"the answer ended {size} bytes early")
            size -= len(block)
            yield block


def _connect(endpoint: Endpoint, timeout_s: float | None) -> socket.socket:
    host, port = endpoint.proxy or (endpoint.host, endpoint.port)
    connection = socket.create_connection((host, port), timeout_s)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not endpoint.tls:
            return connection
        if endpoint.proxy is not None:
            _open_tunnel(connection, f"{endpoint.host}:{endpoint.port}")
        return _secured(connection, endpoint)
    except BaseException:
        connection.close()
        raise


def _secured(connection: socket.socket, endpoint: Endpoint) -> socket.socket:
    import ssl  # 20 ms and 4 MB, for https alone

    context = ssl.create_default_context(cafile=endpoint.certificate)
    if endpoint.certificate is not None:
        # This very certificate, whatever name or signature it has: its own server told us, in a file of the user's.
        context.check_hostname = False
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    return context.wrap_socket(connection, server_hostname=endpoint.host)


def _open_tunnel(connection: socket.socket, authority: str) -> None:
    connection.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode("latin-1"))
    answer = b""
    while not answer.endswith(b"\r\n\r\n"):
        byte = connection.recv(1)  # not one byte too many: TLS begins right behind
        if not byte or len(answer) > _LINE_LIMIT:
            raise ConnectionError("the proxy opened no tunnel")
        answer += byte
    if not answer.split(b" ", 2)[1:2] == [b"200"]:
        raise ConnectionError(f"the proxy refused: {answer.splitlines()[0].decode('latin-1')}")


def _number(text: str, base: int) -> int:
    try:
        return int(text.strip(), base)
    except ValueError:
        raise NotHttp(f"the answer has a malformed length {text[:40]!r}") from None
