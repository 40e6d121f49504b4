"""Requests to the server of this user's home, which is started when nobody answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO, TypeVar

from opengrid import __version__
from opengrid.client.home import About, Home, read_about, read_token
from opengrid.client.http import Http, Query, Response
from opengrid.client.starting import check_here, start_server, stop_server
from opengrid.core.errors import GridError, ServerUnreachable, Unusable

T = TypeVar("T")

#: Repeating one of these does no harm.
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT"})

#: A server that is killed again and again is started this often for one request.
_TRIES = 5


class Embedded:
    """The server of a home, as something to send requests to. Blocks; not for several threads at once.

    A request finds the server by being made: when nobody answers, a server is started and the request repeated, unless
    it may have been carried out. An embedded server of another version is replaced; its experiments go on.
    """

    def __init__(
        self,
        home: Home,
        *,
        tell: Callable[[str], None],
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self._home, self._tell, self._trace = home, tell, trace
        self._http: Http | None = None
        self._about: About | None = None
        self._refused: About | None = None  #: what server.json said of a server at whose port nobody listens

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | BinaryIO | None = None,
        json: object = None,
        timeout_s: float | None = None,
        accept: Collection[int] = (),
    ) -> Response:
        """Send a request and return the whole answer."""

        def send(http: Http) -> Response:
            return http.request(method, path, query=query, body=body, json=json, timeout_s=timeout_s, accept=accept)

        return self._with_server(method, path, send)

    @contextmanager
    def stream(self, method: str, path: str, *, query: Query | None = None) -> Generator[Iterator[bytes]]:
        """Send a request and give the answer's blocks as they arrive. A server that dies meanwhile is not replaced."""
        with ExitStack() as opened:

            def send(http: Http) -> Iterator[bytes]:
                return opened.enter_context(http.stream(method, path, query=query))

            yield self._with_server(method, path, send)

    def close(self) -> None:
        """Close the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None

    def _with_server(self, method: str, path: str, send: Callable[[Http], T]) -> T:
        for tries_left in reversed(range(_TRIES)):
            http, began = self._connect(), time.monotonic()
            try:
                answer = send(http)
            except ServerUnreachable as error:
                self._say(method, path, f"no answer: {error.message}", began)
                self.close()
                self._refused = self._about if isinstance(error.__cause__, ConnectionRefusedError) else None
                if not tries_left or not _may_repeat(method, error):
                    raise
                continue
            except GridError as error:
                self._say(method, path, f"{error.status} {error.code}", began)
                raise
            status = answer.status if isinstance(answer, Response) else "…"
            self._say(method, path, str(status), began)
            return answer
        raise AssertionError("unreachable")

    def _connect(self) -> Http:
        """Return a connection to the server of the home, which runs by then as far as one can see without asking it."""
        if self._http is not None:
            return self._http
        about = read_about(self._home)
        if about is not None:
            check_here(about, self._home)
        if about is None or not (about.is_elsewhere or about.is_alive) or about == self._refused:
            if about is not None and about.is_elsewhere:
                raise ServerUnreachable(f"no server answers at {about.url}", hint=f"start it again on {about.host}")
            about = start_server(self._home, refused=self._refused)
        if about.version != __version__:
            about = self._replaced(about)
        self._about = about
        self._http = Http(about.url, token=read_token(self._home), certificate=about.certificate)
        return self._http

    def _replaced(self, about: About) -> About:
        if about.is_elsewhere or about.was_given_address:
            raise Unusable(
                f"the server at {about.url} is version {about.version}, this command is {__version__}",
                hint="use the same version on both sides, or stop that server",
            )
        self._tell(f"replacing the server of version {about.version} by {__version__}; experiments go on")
        stop_server(self._home, expected=about)
        return start_server(self._home)

    def _say(self, method: str, path: str, outcome: str, began: float) -> None:
        if self._trace is not None:
            where = self._about.url if self._about else ""
            self._trace(f"{method} {where}{path} {outcome} {1000 * (time.monotonic() - began):.0f} ms")


def _may_repeat(method: str, error: ServerUnreachable) -> bool:
    """Return whether a request without answer may be sent again: it never arrived, or twice is harmless."""
    cause = error.__cause__
    if isinstance(cause, ConnectionRefusedError):
        return True
    return method in _IDEMPOTENT and not isinstance(cause, TimeoutError)
