"""Requests to the server: errors as GridError, connections kept alive, no proxy for this computer's own addresses."""

from __future__ import annotations

import json as json_text
import os
import socket
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from opengrid.client.wire import Connection, Endpoint, Head, NoAnswer
from opengrid.core.errors import GridError, InvalidValue, ServerUnreachable, error_from_wire

T = TypeVar("T")

#: A server that is away is asked again so often, after this many seconds at first, and twice as many each time.
TRIES, PAUSE_S = 6, 0.2

#: Repeating one of these does no harm.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE"})

#: Parameters behind a path's question mark: None is left out, a tuple stands several times.
Query = Mapping[str, str | int | tuple[str, ...] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """An answer, read whole. Names of headers are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> object:
        """Return the decoded body; GridError when it is no JSON."""
        try:
            return json_text.loads(self.body)
        except ValueError as error:
            raise GridError(f"the server's answer is no JSON: {self.body[:80]!r}") from error


class Http:
    """One server, one kept-alive connection. Not for several threads at once: give each its own.

    Everything raises ServerUnreachable when nobody answers, and the server's own error for an answer other than 2xx.
    """

    def __init__(
        self, url: str, *, token: str | None = None, certificate: str | None = None, timeout_s: float = 30.0
    ) -> None:
        self.url = url.rstrip("/")
        self._endpoint, self._prefix = endpoint_of(self.url, certificate)
        self._token, self._timeout_s = token, timeout_s
        self._idle: Connection | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | BinaryIO | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        accept: Collection[int] = (),
    ) -> Response:
        """Send a request and return the whole answer.

        `timeout_s` bounds every wait for the other side. Statuses in `accept` are answers too, not errors. A body from
        a file is sent from its current position. What may be repeated is sent again once when a kept-alive connection
        proves dead.
        """
        send = _Request(method, self._target(path, query), self._headers(headers, json), _encoded(body, json))
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        with self._as_grid_errors(timeout_s):
            connection, head = self._exchange(send, timeout_s)
            try:
                content = b"".join(connection.blocks(head))
            except BaseException:
                connection.close()
                raise
        if head.keeps_alive:
            self._idle = connection
        else:
            connection.close()
        response = Response(status=head.status, headers=head.headers, body=content)
        if not 200 <= head.status < 300 and head.status not in accept:
            raise _error(response)
        return response

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Generator[Iterator[bytes]]:
        """Send a request without body on a connection of its own; yield the answer's blocks as they arrive.

        `timeout_s` bounds the silence between blocks; None waits for ever.
        """
        send = _Request(method, self._target(path, query), self._headers(headers, None), None)
        with self._as_grid_errors(self._timeout_s):
            connection = Connection(self._endpoint, timeout_s=self._timeout_s)
        try:
            with self._as_grid_errors(self._timeout_s):
                head = send.over(connection)
                if not 200 <= head.status < 300:
                    content = b"".join(connection.blocks(head))
                    raise _error(Response(status=head.status, headers=head.headers, body=content))
                connection.set_timeout(timeout_s)
            yield self._blocks(connection, head, timeout_s)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._idle is not None:
            self._idle.close()
            self._idle = None

    def _exchange(self, send: _Request, timeout_s: float) -> tuple[Connection, Head]:
        connection, self._idle = self._idle, None
        if connection is not None and connection.is_stale():
            connection.close()
            connection = None
        if connection is not None:
            connection.set_timeout(timeout_s)
            try:
                return connection, send.over(connection)
            except (NoAnswer, BrokenPipeError, ConnectionResetError):
                connection.close()
                if send.method not in _IDEMPOTENT:
                    raise
            except BaseException:
                connection.close()
                raise
        connection = Connection(self._endpoint, timeout_s=timeout_s)
        try:
            return connection, send.over(connection)
        except BaseException:
            connection.close()
            raise

    def _blocks(self, connection: Connection, head: Head, timeout_s: float | None) -> Iterator[bytes]:
        with self._as_grid_errors(timeout_s):
            yield from connection.blocks(head)

    @contextmanager
    def _as_grid_errors(self, timeout_s: float | None) -> Generator[None]:
        try:
            yield
        except TimeoutError as error:
            raise ServerUnreachable(f"{self.url} did not answer within {timeout_s:g} s") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise ServerUnreachable(
                f"no server answers at {self.url}: {reason}", hint="`grid server status` says more"
            ) from error

    def _target(self, path: str, query: Query | None) -> str:
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return (
            self._prefix + quote(path, safe="/%:@!$&'()*+,;=~") + (f"?{urlencode(given, doseq=True)}" if given else "")
        )

    def _headers(self, headers: Mapping[str, str] | None, json: object) -> dict[str, str]:
        return {
            **({} if self._token is None else {"Authorization": f"Bearer {self._token}"}),
            **({} if json is None else {"Content-Type": "application/json"}),
            **(headers or {}),
        }


class _Request:
    """A request that can be sent more than once."""

    def __init__(self, method: str, target: str, headers: dict[str, str], body: bytes | BinaryIO | None) -> None:
        self.method, self._target, self._headers, self._body = method, target, headers, body
        self._start, self._size = _extent(body)

    def over(self, connection: Connection) -> Head:
        """Send over a connection and read the answer's head."""
        if self._body is not None and not isinstance(self._body, bytes):
            self._body.seek(self._start)
        try:
            connection.send(self.method, self._target, self._headers, self._body, self._size)
        except (BrokenPipeError, ConnectionResetError):
            # Refused before the body was through: the answer says why, when there is one.
            return connection.read_head(self.method)
        return connection.read_head(self.method)


def _extent(body: bytes | BinaryIO | None) -> tuple[int, int]:
    if body is None or isinstance(body, bytes):
        return 0, len(body or b"")
    start = body.tell()
    end = body.seek(0, os.SEEK_END)
    body.seek(start)
    return start, end - start


def _encoded(body: bytes | BinaryIO | None, json: object) -> bytes | BinaryIO | None:
    return body if json is None else json_text.dumps(json).encode()


def _error(response: Response) -> GridError:
    try:
        document: object = json_text.loads(response.body)
    except ValueError:
        document = None
    return error_from_wire(response.status, document)


def endpoint_of(url: str, certificate: str | None = None) -> tuple[Endpoint, str]:
    """Return where to connect for an address, and its path; InvalidValue when it is none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise InvalidValue(f"{url!r} is no address of a server") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(f"{url!r} is no address of a server", hint="http://host:port or https://host")
    tls = parts.scheme == "https"
    proxy = None if _is_loopback(parts.hostname) else _proxy(parts.scheme, parts.hostname)
    port = port or (443 if tls else 80)
    return Endpoint(host=parts.hostname, port=port, tls=tls, certificate=certificate, proxy=proxy), parts.path


def proxy_of(url: str) -> str:
    """Return `host:port` of the proxy that requests to a server go through; "" when they go straight."""
    proxy = endpoint_of(url)[0].proxy
    return f"{proxy[0]}:{proxy[1]}" if proxy is not None else ""


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host == "::1":
        return True
    try:
        return socket.inet_aton(host)[0] == 127
    except OSError:
        return False


def _proxy(scheme: str, host: str) -> tuple[str, int] | None:
    import urllib.request  # heavy, and a server elsewhere is the exception

    address = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(scheme)
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    return (parts.hostname, parts.port or 80) if parts.hostname else None


def patiently(ask: Callable[[], T]) -> T:
    """Return the answer to what may be asked again; ServerUnreachable when the server stays away for 13 s."""
    for tries in range(TRIES):
        try:
            return ask()
        except ServerUnreachable:
            time.sleep(PAUSE_S * 2**tries)
    return ask()
