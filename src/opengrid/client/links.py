"""Contents over links into a bucket: short-lived addresses that need no other right, asked for again when they expire.

Connections are kept; what fails for a moment is repeated; a download that is cut goes on where it was.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar
from urllib.parse import urlsplit

from opengrid.client.http import endpoint_of
from opengrid.client.wire import Connection, Head
from opengrid.core.errors import GridError, ServerUnreachable, Unusable
from opengrid.core.packs import Located

_T = TypeVar("_T")

#: A bucket that does not answer, or is too busy, is asked again so often, with pauses that grow from this.
_TRIES, _PAUSE_S = 6, 0.2

#: The longest silence of a bucket.
_SILENCE_S = 60.0

#: Answers that may be others in a moment; 400 is what a body gets that was damaged on its way.
_PASSING = frozenset({400, 408, 429, 500, 502, 503, 504})


class _Refused(Exception):
    """A link does not work, or not any more."""


class _Busy(Exception):
    """A bucket may answer otherwise in a moment."""


class Link:
    """One address that expires; `renew` asks for it anew."""

    def __init__(self, url: str, renew: Callable[[], str]) -> None:
        self.url, self._renew = url, renew
        self._is_renewed = False

    def worked(self) -> None:
        """Know that it was not refused."""
        self._is_renewed = False

    def refused(self, reason: str) -> None:
        """Get another address; Unusable when the one before was new."""
        host = urlsplit(self.url).netloc
        if self._is_renewed:
            raise Unusable(f"{host} refuses the server's links: {reason}", hint="may the server's key read and write?")
        self.url, self._is_renewed = self._renew(), True


def located_blocks(bucket: BucketClient, locate: Callable[[], Located], offset: int = 0) -> Iterator[bytes]:
    """Yield a content from an offset on; `locate` says where it is, again when links have expired."""
    found = locate()
    for piece in found.pieces:
        skipped = min(offset, piece.size)
        offset -= skipped
        link = Link(found.links[piece.link], lambda number=piece.link: locate().links[number])
        yield from bucket.get(link, piece.offset + skipped, piece.size - skipped)


class BucketClient:
    """Puts to and gets from links. For one thread."""

    def __init__(self) -> None:
        self._idle: dict[str, Connection] = {}

    def put(self, link: Link, body: bytes) -> None:
        """Put an object, whole or not at all. ServerUnreachable when the bucket stays away."""
        headers = {"Content-MD5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}
        self._patiently(link, lambda: self._put(link, headers, body))

    def get(self, link: Link, offset: int, size: int, *, etag: str | None = None) -> Iterator[bytes]:
        """Yield bytes of an object; of this very one, with an ETag. ServerUnreachable when the bucket stays away."""
        cuts = 0
        while size > 0:
            blocks = self._patiently(link, lambda at=offset, left=size: self._open(link, at, left, etag))
            try:
                for block in blocks:
                    offset += len(block)
                    size -= len(block)
                    cuts = 0
                    yield block
            except OSError as error:  # the rest is asked for
                self.close()
                cuts += 1
                if cuts > _TRIES:
                    raise _away(link, error) from error

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.popitem()[1].close()

    def _patiently(self, link: Link, ask: Callable[[], _T]) -> _T:
        tries = 0
        while True:
            try:
                answer = ask()
            except _Refused as reason:
                link.refused(str(reason))
            except (OSError, _Busy) as error:
                self.close()
                tries += 1
                if tries > _TRIES:
                    raise _away(link, error) from error
                time.sleep(_PAUSE_S * 2**tries)
            else:
                link.worked()
                return answer

    def _put(self, link: Link, headers: dict[str, str], body: bytes) -> None:
        connection, head = self._ask("PUT", link.url, headers, body)
        self._finish(link, connection, head)

    def _open(self, link: Link, offset: int, size: int, etag: str | None) -> Iterator[bytes]:
        headers = {"Range": f"bytes={offset}-{offset + size - 1}", **({"If-Match": f'"{etag}"'} if etag else {})}
        connection, head = self._ask("GET", link.url, headers, None)
        if head.status not in (200, 206):
            self._finish(link, connection, head)
        return self._blocks(link, connection, head, size)

    def _blocks(self, link: Link, connection: Connection, head: Head, size: int) -> Iterator[bytes]:
        for block in connection.blocks(head):
            if len(block) > size:
                raise GridError(f"{urlsplit(link.url).netloc} gave more than it was asked for")
            size -= len(block)
            yield block
        if size:
            raise ConnectionError("the answer was too short")
        self._keep(link, connection, head)

    def _ask(self, method: str, url: str, headers: dict[str, str], body: bytes | None) -> tuple[Connection, Head]:
        endpoint, _ = endpoint_of(url)
        parts = urlsplit(url)
        connection = self._idle.pop(parts.netloc, None)
        if connection is not None and connection.is_stale():
            connection.close()
            connection = None
        if connection is None:
            connection = Connection(endpoint, timeout_s=_SILENCE_S)
        try:
            connection.send(method, f"{parts.path}?{parts.query}", headers, body, len(body or b""))
            return connection, connection.read_head(method)
        except BaseException:
            connection.close()
            raise

    def _finish(self, link: Link, connection: Connection, head: Head) -> None:
        """Read the rest of an answer; raise what it says."""
        said = b"".join(connection.blocks(head))
        self._keep(link, connection, head)
        if 200 <= head.status < 300:
            return
        code = said.partition(b"<Code>")[2].partition(b"</Code>")[0].decode("latin-1") or str(head.status)
        if head.status in (401, 403):
            raise _Refused(code)
        if head.status == 412:
            raise GridError(f"{urlsplit(link.url).path} has changed since it was referred to")
        if head.status in _PASSING:
            raise _Busy(code)
        raise GridError(f"{urlsplit(link.url).netloc}, where contents rest, says {code}")

    def _keep(self, link: Link, connection: Connection, head: Head) -> None:
        if head.keeps_alive:
            self._idle[urlsplit(link.url).netloc] = connection
        else:
            connection.close()


def _away(link: Link, error: BaseException) -> ServerUnreachable:
    return ServerUnreachable(f"{urlsplit(link.url).netloc}, where contents rest, does not answer: {error}")
