"""How contents travel to and rest in a bucket: in packs, which are written once, by links, which soon expire.

A pack holds several small contents, or one piece of a large one, and is named by the SHA-256 of its bytes. Where a
content lies is a list of extents. These are also the messages of those who bring and fetch contents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

#: A pack has at most so many bytes.
MOST_PACK = 64 << 20

#: Contents up to this size share packs.
MOST_SHARED = 8 << 20

#: Larger contents are cut into packs of this size: what is sent again, at most, after a connection broke.
PIECE = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Bytes of a pack."""

    pack: str  #: SHA-256
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PackLink:
    """Where a pack is put to, for some minutes."""

    pack: str
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackLinks:
    """Answer to a list of packs: links for those that are not there. The others need not be brought."""

    links: tuple[PackLink, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """A content, and where its bytes lie, in their order; nowhere, when it has none."""

    sha256: str
    extents: tuple[Extent, ...]

    @property
    def size(self) -> int:
        """Bytes of the content."""
        return sum(extent.size for extent in self.extents)


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """Bytes that a link gives, for some minutes: a GET with a range."""

    link: int  #: which one of a list of links; one that begins with `/` is the server's own
    offset: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedPacks:
    """POST /agent/v1/artifacts/links: packs that one would put. Answered with PackLinks."""

    packs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedContents:
    """PUT /agent/v1/artifacts/packed: contents that were put in packs. Answered with MissingPacks."""

    contents: tuple[Packed, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingPacks:
    """Packs that are not there: then nothing was taken in."""

    missing: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Located:
    """Where one content is, for some minutes."""

    links: tuple[str, ...]
    pieces: tuple[Piece, ...]  #: its bytes, in their order


def shared_packs(sizes: Iterable[tuple[str, int]]) -> Iterator[Sequence[str]]:
    """Divide contents that are small enough to share packs, each with its size, into packs, in their order."""
    group: list[str] = []
    total = 0
    for content, size in sizes:
        if group and total + size > MOST_PACK:
            yield group
            group, total = [], 0
        group.append(content)
        total += size
    if group:
        yield group
