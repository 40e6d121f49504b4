"""The seam: contents by their SHA-256, wherever they rest. Any thread may use it; a blob appears whole, or not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from opengrid.core.packs import Packed, PackLink, Piece


class BlobWriter(Protocol):
    """One blob on its way in."""

    def write(self, data: bytes) -> None:
        """Append `data`."""
        ...


class Links(Protocol):
    """How others bring and fetch contents without us: by addresses that expire after some minutes."""

    @property
    def place(self) -> str:
        """Where the contents rest, for people to see."""
        ...

    def to_put(self, packs: Iterable[str]) -> list[PackLink]:
        """Return where to put packs; those that are here already are left out."""
        ...

    def add(self, contents: Collection[Packed]) -> list[str]:
        """Take in contents whose packs were put; return packs that are missing: then nothing is. Repeating is harmless.

        InvalidValue for what cannot be.
        """
        ...

    def to_get(self, digests: Sequence[str]) -> tuple[list[str], list[tuple[Piece, ...]]]:
        """Return addresses, and which bytes of them each content is; NotFound for one that is not here."""
        ...


class Blobs(Protocol):
    """A store of contents. Everything raises InvalidValue for what is no SHA-256."""

    @property
    def links(self) -> Links | None:
        """How others get at the contents themselves; None where they cannot."""
        ...

    def path(self, digest: str) -> Path:
        """Return a file of this host with the content, brought here when it is elsewhere; NotFound without one."""
        ...

    def exists(self, digest: str) -> bool:
        """Return whether the blob is in the store, whole."""
        ...

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """Return the bytes of those of these blobs that are in the store."""
        ...

    def writing(self, digest: str) -> AbstractContextManager[BlobWriter]:
        """Receive a blob in pieces; on leaving without an error its content is verified and it is in the store."""
        ...

    def adopt(self, staged: Path, digest: str) -> int:
        """Take over a file of the same disk, verified; return its size. It is gone there in any case.

        InvalidValue when its content is another, NotFound when there is no such file.
        """
        ...

    def adopt_all(self, staging: Path, digests: Collection[str]) -> None:
        """Take over what a folder holds of these, each under its digest; what is not what it says is taken away."""
        ...

    def share(self, staged: str, digest: str, size: int) -> bool:
        """Take over a file of the same disk; return whether it stays where it is, as another name of the content.

        Else it may be gone there. What is not what it says is not taken.
        """
        ...

    def check(self, digests: Collection[str]) -> set[str]:
        """Read blobs; return those that are not here or not what they should be, which are removed."""
        ...

    def remove(self, digests: Collection[str]) -> int:
        """Remove blobs, harmless where there is none; return the bytes that this freed."""
        ...

    def location(self, digest: str) -> str:
        """Return where a blob rests, or would, for people to see."""
        ...
