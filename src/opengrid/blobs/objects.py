"""Blobs in a bucket of S3, or of what speaks like it, with the newest of them in a folder of this host."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.errors import GridError, InvalidValue, NotFound, Unusable

if TYPE_CHECKING:
    from obstore import ObjectMeta

    from opengrid.blobs.blobs import BlobWriter

#: Blobs of more than this go up in parts of this size, several at once; half done ones leave nothing to be seen.
_PART = 8 << 20

#: So many small blobs travel at once: each waits for the network, not for us.
_AT_ONCE = 32

#: A download that is cut is begun again so often; requests themselves are repeated by the library.
_TRIES = 3

_REFUSALS = (PermissionDeniedError, UnauthenticatedError, PermissionError)

#: What the cache keeps in any case: somebody may be about to open it.
_FRESH_S = 60.0


class ObjectBlobs:
    """Blobs of one server below `s3://bucket/prefix`. The bucket is listed once; then it is known what it holds."""

    def __init__(self, url: str, cache: Path, *, most_cached: int, retry_s: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query:
            raise InvalidValue(f"{url} is no place for contents", hint="GRID_STORAGE=s3://bucket/prefix")
        self._url, self._bucket = url.rstrip("/"), parts.netloc
        self._store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")},
            retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=retry_s)},
        )
        self._local, self._folder, self._most_cached = FolderBlobs(cache), cache, most_cached
        self._cached: int | None = None  #: bytes in the cache, about; None: not looked yet
        self._sizes: dict[str, int] | None = None
        self._lock = threading.Lock()

    def path(self, digest: str) -> Path:
        """Return the cached file, brought here when it is not."""
        with contextlib.suppress(NotFound):
            path = self._local.path(digest)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used now, written when it was
            return path
        if self.size(digest) is None:
            raise NotFound(f"no blob {digest[:12]}…", hint="upload it first")
        self._fetch(digest)
        return self._local.path(digest)

    def exists(self, digest: str) -> bool:
        """Return whether the bucket has the blob."""
        return self.size(digest) is not None

    def size(self, digest: str) -> int | None:
        """Return a blob's bytes; None when the bucket has it not."""
        self._local.location(digest)  # which checks it
        return self._known().get(digest)

    @contextmanager
    def writing(self, digest: str) -> Generator[BlobWriter]:
        """Receive a blob in pieces, into the cache, and then into the bucket."""
        with self._local.writing(digest) as writer:
            yield writer
        self._send(digest)

    def adopt(self, staged: Path, digest: str) -> int:
        """Take over a file: into the cache, and then into the bucket."""
        size = self._local.adopt(staged, digest)
        self._send(digest)
        return size

    def adopt_all(self, staging: Path, digests: Collection[str]) -> None:
        """Take over what a folder holds of these, many at once."""

        def adopt(digest: str) -> None:
            with contextlib.suppress(NotFound, InvalidValue):
                self.adopt(staging / digest, digest)

        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(adopt, digests))

    def check(self, digest: str) -> bool:
        """Read a blob; a damaged one of the cache is fetched again, one that is damaged in the bucket is removed."""
        if self.size(digest) is None:
            return False
        if self._local.check(digest):
            return True
        try:
            self._fetch(digest)
        except InvalidValue:
            self.remove(digest)
            return False
        return True

    def remove(self, digest: str) -> None:
        """Remove a blob from cache and bucket."""
        if self.size(digest) is not None:
            with self._explained():
                obstore.delete(self._store, _key(digest))
            self._known().pop(digest, None)
        self._local.remove(digest)

    def location(self, digest: str) -> str:
        """Return the blob's address in the bucket."""
        self._local.location(digest)
        return f"{self._url}/{_key(digest)}"

    def _known(self) -> dict[str, int]:
        with self._lock:
            if self._sizes is None:
                with self._explained():
                    self._sizes = {meta["path"].rpartition("/")[2]: meta["size"] for meta in self._listed()}
            return self._sizes

    def _listed(self) -> Iterator[ObjectMeta]:
        pages = cast("Iterator[list[ObjectMeta]]", obstore.list(self._store))  # pyright: ignore[reportUnknownMemberType]
        for page in pages:
            yield from page

    def _send(self, digest: str) -> None:
        path = self._local.path(digest)
        size = path.stat().st_size
        with self._explained():
            obstore.put(self._store, _key(digest), path, use_multipart=size > _PART, chunk_size=_PART)
        self._known()[digest] = size
        self._make_room(size)

    def _fetch(self, digest: str) -> None:
        """Bring a blob into the cache; InvalidValue when it is not what it should be."""
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._explained(), self._local.writing(digest) as writer:
                    for block in obstore.get(self._store, _key(digest)).stream(_PART):
                        writer.write(bytes(block))
                break
            except (NotFound, InvalidValue, Unusable):
                raise
            except GridError:
                if not tries_left:
                    raise
        self._make_room(self._known().get(digest, 0))

    def _make_room(self, added: int) -> None:
        """Keep the cache below its bound: what was not used for longest goes, but for what trees hold anyway."""
        with self._lock:
            if self._cached is None:
                self._cached = sum(path.stat().st_size for path in self._folder.glob("*/*"))
            else:
                self._cached += added
            if self._cached <= self._most_cached:
                return
            files = [(path, path.stat()) for path in self._folder.glob("[0-9a-f]*/[0-9a-f]*")]
            self._cached = sum(status.st_size for _, status in files)
            for path, status in sorted(files, key=lambda one: one[1].st_atime_ns):
                if self._cached <= self._most_cached * 0.9 or time.time() - status.st_atime < _FRESH_S:
                    return
                if status.st_nlink == 1:
                    path.unlink(missing_ok=True)
                    self._cached -= status.st_size

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (BaseError, OSError) as error:  # some kinds come as Python's own
            raise self._explanation(error) from error

    def _explanation(self, error: BaseException) -> GridError:
        text = str(error)
        if "NoSuchBucket" in text:
            return Unusable(f"there is no bucket {self._bucket}", hint="make it, or set GRID_STORAGE to another")
        if isinstance(error, _REFUSALS) or "403 Forbidden" in text or "401 Unauthorized" in text:
            return Unusable(
                f"the bucket {self._bucket} refuses us: {_line(text)}",
                hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the server say who asks",
            )
        if isinstance(error, FileNotFoundError):
            return NotFound(f"{self._url} has lost a content: {_line(text)}")
        return GridError(f"{self._url} does not answer as it should: {_line(text)}", hint="try again")


def _key(digest: str) -> str:
    return f"{digest[:2]}/{digest}"


def _line(text: str) -> str:
    return text.partition("\n")[0][:200]
