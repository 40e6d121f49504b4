"""The seam: contents by their SHA-256, wherever they rest. Any thread may use it; a blob appears whole, or not."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol


class BlobWriter(Protocol):
    """One blob on its way in."""

    def write(self, data: bytes) -> None:
        """Append `data`."""
        ...


class Blobs(Protocol):
    """A store of contents. Everything raises InvalidValue for what is no SHA-256."""

    def path(self, digest: str) -> Path:
        """Return a file of this host with the content, brought here when it is elsewhere; NotFound without one."""
        ...

    def exists(self, digest: str) -> bool:
        """Return whether the blob is in the store, whole."""
        ...

    def size(self, digest: str) -> int | None:
        """Return a blob's bytes; None when it is not in the store."""
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

    def check(self, digest: str) -> bool:
        """Read a blob's content; return whether it is whole. One that is damaged for good is removed."""
        ...

    def remove(self, digest: str) -> None:
        """Remove a blob; harmless when there is none."""
        ...

    def location(self, digest: str) -> str:
        """Return where a blob rests, or would, for people to see."""
        ...
