"""Contents into packs, and packs to where they rest, over links: the small ones together, large ones in pieces.

What is there already is not sent: a pack is named by the SHA-256 of its bytes. So an upload that was broken off sends
again less than one pack, and a large file of which a part changed sends that part.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from opengrid.client.links import BucketClient, Link
from opengrid.core.errors import GridError
from opengrid.core.packs import MOST_PACK, MOST_SHARED, PIECE, Extent, Packed, shared_packs

#: Between a look at what is there and the end of an upload packs may be deleted; then it is done again, so often.
_ROUNDS = 3


class Carrier(Protocol):
    """Whom an uploader asks."""

    def links(self, packs: Sequence[str]) -> Mapping[str, str]:
        """Return where to put packs, those that are there already left out."""
        ...

    def add(self, contents: Sequence[Packed]) -> Sequence[str]:
        """Say where contents lie; return packs that are missing: then nothing was taken in."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A content to bring."""

    sha256: str
    size: int
    open: Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True)
class _Pack:
    body: bytes
    contents: tuple[tuple[str, int], ...]  #: what it holds, in its order, with sizes


class Uploader:
    """Brings contents. `progress` is called with the bytes of every pack that is there, and those that were sent."""

    def __init__(
        self,
        carrier: Carrier,
        progress: Callable[[int, int], None] = lambda done, sent: None,
        *,
        shares: bool,
        at_once: int = 1,
    ) -> None:
        self._carrier, self._progress, self._shares, self._at_once = carrier, progress, shares, at_once
        self._clients = threading.local()

    def bring(self, contents: Sequence[Content]) -> set[str]:
        """Bring contents; return those that are not what they were said to be. Raises OSError of opening and reading.

        ServerUnreachable when nobody answers: repeating goes on where it was.
        """
        for _ in range(_ROUNDS):
            placed, changed = self._send(contents)
            if not placed or not self._carrier.add(placed):
                return changed
        raise GridError("what was sent vanishes from the bucket", hint="does another server write to the same prefix?")

    def _send(self, contents: Sequence[Content]) -> tuple[list[Packed], set[str]]:
        extents: dict[str, list[Extent]] = {content.sha256: [] for content in contents}
        changed: set[str] = set()
        under_way: deque[Future[None]] = deque()
        with ThreadPoolExecutor(self._at_once) as threads:
            try:
                for pack in self._packs(contents, changed):
                    digest, offset = hashlib.sha256(pack.body).hexdigest(), 0
                    for content, size in pack.contents:
                        if size:
                            extents[content].append(Extent(pack=digest, offset=offset, size=size))
                        offset += size
                    if pack.body:
                        under_way.append(threads.submit(self._put, digest, pack.body))
                    while len(under_way) > self._at_once:
                        under_way.popleft().result()
                while under_way:
                    under_way.popleft().result()
            finally:
                for future in under_way:
                    future.cancel()
        placed = [Packed(sha256=one, extents=tuple(parts)) for one, parts in extents.items() if one not in changed]
        return placed, changed

    def _put(self, digest: str, body: bytes) -> None:
        url = self._carrier.links([digest]).get(digest)
        if url is None:
            self._progress(len(body), 0)
            return
        client: BucketClient | None = getattr(self._clients, "client", None)
        if client is None:
            client = self._clients.client = BucketClient()
        client.put(Link(url, lambda: self._carrier.links([digest]).get(digest, url)), body)
        self._progress(len(body), len(body))

    def _packs(self, contents: Sequence[Content], changed: set[str]) -> Iterator[_Pack]:
        small = {c.sha256: c for c in contents if self._shares and c.size <= MOST_SHARED}
        for group in shared_packs((digest, content.size) for digest, content in small.items()):
            yield _shared([small[digest] for digest in group], changed)
        for content in contents:
            if content.sha256 not in small:
                yield from _pieces(content, PIECE if self._shares else MOST_PACK, changed)


def _shared(contents: Sequence[Content], changed: set[str]) -> _Pack:
    bodies: list[bytes] = []
    held: list[tuple[str, int]] = []
    for content in contents:
        with content.open() as file:
            body = file.read(content.size + 1)
        if hashlib.sha256(body).hexdigest() != content.sha256:
            changed.add(content.sha256)
            continue
        bodies.append(body)
        held.append((content.sha256, len(body)))
    return _Pack(b"".join(bodies), tuple(held))


def _pieces(content: Content, most: int, changed: set[str]) -> Iterator[_Pack]:
    whole, left = hashlib.sha256(), content.size
    with content.open() as file:
        while left and (body := file.read(min(most, left))):
            whole.update(body)
            left -= len(body)
            yield _Pack(body, ((content.sha256, len(body)),))
    if whole.hexdigest() != content.sha256:
        changed.add(content.sha256)
