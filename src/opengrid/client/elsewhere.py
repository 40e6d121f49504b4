"""Requests to a server that somebody has signed in to."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import BinaryIO

from opengrid import __version__
from opengrid.client.http import Http, Query, Response
from opengrid.client.login import Login
from opengrid.core.errors import GridError, ServerUnreachable

#: How long a server that answered before may be away: it is being started anew.
PATIENCE_S = 30.0

#: What may be asked again.
_READING = frozenset({"GET", "HEAD"})


class Elsewhere:
    """A server elsewhere, as something to send requests to. Blocks; not for several threads at once."""

    def __init__(
        self, login: Login, *, tell: Callable[[str], None], trace: Callable[[str], None] | None = None
    ) -> None:
        self._url, self._tell, self._trace = login.url, tell, trace
        self._http = Http(login.url, token=login.token, certificate=login.certificate)
        self._has_told = self._has_answered = False

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

        def send() -> Response:
            with self._traced(method, path):
                return self._http.request(
                    method, path, query=query, body=body, json=json, timeout_s=timeout_s, accept=accept
                )

        answer = self._patiently(send) if method in _READING and self._has_answered else send()
        self._has_answered = True
        version = answer.headers.get("grid-version", __version__)
        if version != __version__ and not self._has_told:
            self._has_told = True
            self._tell(f"the server at {self._url} is version {version}, this command is {__version__}")
        return answer

    @contextmanager
    def stream(self, method: str, path: str, *, query: Query | None = None) -> Generator[Iterator[bytes]]:
        """Send a request and give the answer's blocks as they arrive."""
        with ExitStack() as opened:
            with self._traced(method, path):
                blocks = opened.enter_context(self._http.stream(method, path, query=query))
            yield blocks

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def _patiently(self, send: Callable[[], Response]) -> Response:
        """Ask a server that was there a moment ago again, while it is being started anew."""
        deadline, pause_s = time.monotonic() + PATIENCE_S, 0.1
        while True:
            try:
                return send()
            except ServerUnreachable as error:
                is_slow = isinstance(error.__cause__, TimeoutError)
                if is_slow or time.monotonic() + pause_s > deadline:
                    raise
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, 2.0)

    @contextmanager
    def _traced(self, method: str, path: str) -> Generator[None]:
        began, outcome = time.monotonic(), "ok"
        try:
            yield
        except ServerUnreachable as error:
            outcome = f"no answer: {error.message}"
            hint = "is it up? `grid logout` goes back to this computer's own server"
            raise ServerUnreachable(error.message, hint=hint) from error.__cause__
        except GridError as error:
            outcome = f"{error.status} {error.code}"
            raise
        finally:
            if self._trace is not None:
                self._trace(f"{method} {self._url}{path} {outcome} {1000 * (time.monotonic() - began):.0f} ms")
