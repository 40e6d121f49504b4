"""What all calls stand on: requests that carry JSON, over whatever finds the server."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from typing import BinaryIO, Protocol, cast

from opengrid.client.http import Query, Response

#: What is deleted is removed from the server's disk before it answers: on a slow one that takes minutes.
REMOVING_TIMEOUT_S = 3600.0


class Transport(Protocol):
    """What carries requests: an Http, or something that finds the server first."""

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
        """Send a request and return the whole answer; raise the server's own error for one that is none."""
        ...

    def stream(self, method: str, path: str, *, query: Query | None = None) -> AbstractContextManager[Iterator[bytes]]:
        """Send a request; give the answer's blocks as they arrive."""
        ...


class Calls:
    """Calls of the user API. All block; all raise GridError."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def _get(
        self,
        path: str,
        query: Query | None = None,
        timeout_s: float | None = None,
    ) -> dict[str, object]:
        answer = self._transport.request("GET", path, query=query, timeout_s=timeout_s)
        return cast("dict[str, object]", answer.json())

    def _post(self, path: str, document: object, timeout_s: float | None = None) -> dict[str, object]:
        answer = self._transport.request("POST", path, json=document, timeout_s=timeout_s)
        return cast("dict[str, object]", answer.json())

    def _put(self, path: str, document: object, timeout_s: float | None = None) -> dict[str, object]:
        answer = self._transport.request("PUT", path, json=document, timeout_s=timeout_s)
        return cast("dict[str, object]", answer.json())


def wire(value: object) -> object:
    """Return a value as what JSON takes."""
    from opengrid.core.codec import to_json  # beside its only use: other commands have nothing to encode

    return to_json(value)
