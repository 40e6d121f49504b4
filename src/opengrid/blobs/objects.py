"""Blobs in a bucket of S3, or of what speaks like it, with the newest of them in a folder of this host."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import threading
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.blobs.bucket import Bucket
from opengrid.blobs.folder import FolderBlobs
from opengrid.blobs.index import Index, Part, pack_key, whole_key
from opengrid.core.errors import GridError, InvalidValue, NotFound, Unusable
from opengrid.core.packs import MOST_PACK, MOST_SHARED, Extent, Packed, PackLink, Piece, shared_packs

if TYPE_CHECKING:
    from opengrid.blobs.blobs import BlobWriter

#: So many objects travel at once: each waits for the network, not for us.
_AT_ONCE = 32

#: A download that is cut is begun again so often; requests themselves are repeated by the library.
_TRIES = 3

#: What the cache keeps in any case: somebody may be about to open it.
_FRESH_S = 60.0

#: How long a link works: a pack must come through in that time, over the slowest line.
LINK_S = 900.0

_DIGEST = re.compile(r"[0-9a-f]{64}")


class ObjectBlobs:
    """Blobs of one server below `s3://bucket/prefix`; nobody else writes there."""

    def __init__(
        self, url: str, cache: Path, *, most_cached: int, retry_s: float = 60.0, link_s: float = LINK_S
    ) -> None:
        self._bucket = Bucket(url, retry_s=retry_s)
        self._index = Index(self._bucket)
        self._local, self._folder, self._most_cached = FolderBlobs(cache), cache, most_cached
        self._cached: int | None = None  #: bytes in the cache, about; None: not looked yet
        self._lock = threading.Lock()
        self.links = BucketLinks(self._bucket, self._index, valid_s=link_s)

    def path(self, digest: str) -> Path:
        """Return the cached file, brought here when it is not."""
        with contextlib.suppress(NotFound):
            path = self._local.path(digest)
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))  # used now, written when it was
            return path
        self._fetch(digest)
        return self._local.path(digest)

    def exists(self, digest: str) -> bool:
        """Return whether the bucket has the blob."""
        return digest in self.sizes([digest])

    def sizes(self, digests: Collection[str]) -> dict[str, int]:
        """Return the bytes of those of these blobs that the bucket has."""
        found = {digest: self._index.size(_checked(digest)) for digest in digests}
        return {digest: size for digest, size in found.items() if size is not None}

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
        """Take over what a folder holds of these: small ones in packs, large ones each as an object."""
        sizes: dict[str, int] = {}
        for digest in digests:
            with contextlib.suppress(NotFound, InvalidValue):
                sizes[digest] = self._local.adopt(staging / digest, digest)
        small = [(digest, size) for digest, size in sizes.items() if size <= MOST_SHARED]
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(self._send, sizes.keys() - {digest for digest, _ in small}))
        for group in shared_packs(small):
            self._send_pack(group)

    def share(self, staged: str, digest: str, size: int) -> bool:
        """Take over a file, into the cache and then into the bucket, where it has no other name."""
        with contextlib.suppress(NotFound, InvalidValue):
            self.adopt(Path(staged), digest)
        return False

    def check(self, digests: Collection[str]) -> set[str]:
        """Read blobs in the bucket, each pack once; those that are not what they should be are removed."""
        known = {digest: self._index.find(_checked(digest)) for digest in digests}
        damaged = {digest for digest, parts in known.items() if parts is None}
        whole = [(digest, parts) for digest, parts in known.items() if parts is not None]
        whole.sort(key=lambda one: one[1])
        for _, group in groupby(whole, key=_shared_with):
            damaged |= self._damaged(list(group))
        self.remove(damaged)
        # What is wrong in the cache is removed, and fetched again when it is needed.
        self._local.check([digest for digest in set(digests) - damaged if self._local.exists(digest)])
        return damaged

    def remove(self, digests: Collection[str]) -> int:
        """Remove blobs from cache and bucket; return what this freed in the bucket."""
        freed = self._index.remove([_checked(digest) for digest in digests])
        self._local.remove(digests)
        return freed

    def location(self, digest: str) -> str:
        """Return the blob's address in the bucket; of one that lies in several packs the first."""
        parts = self._index.find(_checked(digest))
        key = parts[0].key if parts else whole_key(digest)
        return f"{self._bucket.url}/{key}" + (f" and {len(parts) - 1} more" if parts and len(parts) > 1 else "")

    def _send(self, digest: str) -> None:
        path = self._local.path(digest)
        size = path.stat().st_size
        if self._index.size(digest) is None:
            self._bucket.put(whole_key(digest), path)
            self._index.add_whole(digest, size)
        self._make_room(size)

    def _send_pack(self, digests: Sequence[str]) -> None:
        bodies = {digest: self._local.path(digest).read_bytes() for digest in digests}
        body = b"".join(bodies.values())
        pack, offset = hashlib.sha256(body).hexdigest(), 0
        contents: list[Packed] = []
        for digest, content in bodies.items():
            extents = (Extent(pack=pack, offset=offset, size=len(content)),) if content else ()
            contents.append(Packed(sha256=digest, extents=extents))
            offset += len(content)
        if self._index.lacks([pack]):
            self._bucket.put(pack_key(pack), body)
        self._index.add_packed(contents)
        self._make_room(len(body))

    def _fetch(self, digest: str) -> None:
        """Bring a blob into the cache; InvalidValue when it is not what it should be."""
        for tries_left in reversed(range(_TRIES)):
            try:
                with self._local.writing(digest) as writer:
                    for block in self._read(digest):
                        writer.write(block)
                break
            except (NotFound, InvalidValue, Unusable):
                raise
            except GridError:
                if not tries_left:
                    raise
        self._make_room(self._index.size(digest) or 0)

    def _read(self, digest: str) -> Iterator[bytes]:
        parts = self._index.find(_checked(digest))
        if parts is None:
            raise NotFound(f"no blob {digest[:12]}…", hint="upload it first")
        for part in parts:
            yield from self._bucket.read(part.key, part.offset, part.size)

    def _damaged(self, contents: list[tuple[str, tuple[Part, ...]]]) -> set[str]:
        """Read contents that lie in the same objects; return those that are not what they should be."""
        if len(contents) == 1:
            found = hashlib.sha256()
            for block in self._read(contents[0][0]):
                found.update(block)
            return set() if found.hexdigest() == contents[0][0] else {contents[0][0]}
        end = max(parts[0].offset + parts[0].size for _, parts in contents if parts)
        body = b"".join(self._bucket.read(contents[0][1][0].key, 0, end))
        return {
            digest
            for digest, parts in contents
            if hashlib.sha256(b"".join(body[p.offset : p.offset + p.size] for p in parts)).hexdigest() != digest
        }

    def _make_room(self, added: int) -> None:
        """Keep the cache below its bound: what was not used for longest goes, but for what trees hold anyway."""
        with self._lock:
            if self._cached is None:
                self._cached = sum(status.st_size for _, status in self._files())
            else:
                self._cached += added
            if self._cached <= self._most_cached:
                return
            files = self._files()
            self._cached = sum(status.st_size for _, status in files)
            for path, status in sorted(files, key=lambda one: one[1].st_atime_ns):
                if self._cached <= self._most_cached * 0.9 or time.time() - status.st_atime < _FRESH_S:
                    return
                if status.st_nlink == 1 and self._index.size(path.name) is not None:  # the bucket has it
                    path.unlink(missing_ok=True)
                    self._cached -= status.st_size

    def _files(self) -> list[tuple[Path, os.stat_result]]:
        """Return what is cached; what other threads bring just now, or take away meanwhile, is left out."""
        found: list[tuple[Path, os.stat_result]] = []
        for path in self._folder.glob("[0-9a-f]*/[0-9a-f]*"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path, path.stat()))
        return found


class BucketLinks:
    """Links into the bucket, signed with the server's key; whoever has one needs no other right."""

    def __init__(self, bucket: Bucket, index: Index, *, valid_s: float) -> None:
        self._bucket, self._index, self._valid_s = bucket, index, valid_s
        self.place = bucket.url

    def to_put(self, packs: Iterable[str]) -> list[PackLink]:
        """Return where to put packs; those that are here already are left out."""
        missing = self._index.lacks([_checked(pack) for pack in packs])
        urls = self._bucket.links("PUT", [pack_key(pack) for pack in missing], self._valid_s)
        return [PackLink(pack=pack, url=url) for pack, url in zip(missing, urls, strict=True)]

    def add(self, contents: Collection[Packed]) -> list[str]:
        """Take in contents whose packs were put; return packs that are missing: then nothing is. Repeating is harmless.

        InvalidValue for what cannot be.
        """
        for content in contents:
            _checked(content.sha256)
            for extent in content.extents:
                _checked(extent.pack)
                if extent.offset < 0 or not 0 < extent.size <= MOST_PACK:
                    raise InvalidValue(f"{extent.size} bytes at {extent.offset} are no part of a pack")
        return self._index.add_packed(contents)

    def to_get(self, digests: Sequence[str]) -> tuple[list[str], list[tuple[Piece, ...]]]:
        """Return addresses, and which bytes of them each content is; NotFound for one that is not here."""
        keys: dict[str, int] = {}
        contents: list[tuple[Piece, ...]] = []
        for digest in digests:
            parts = self._index.find(_checked(digest))
            if parts is None:
                raise NotFound(f"the bucket has lost the content {digest[:12]}…", hint="create its datastore again")
            pieces = (Piece(link=keys.setdefault(p.key, len(keys)), offset=p.offset, size=p.size) for p in parts)
            contents.append(tuple(pieces))
        return self._bucket.links("GET", list(keys), self._valid_s), contents


def _shared_with(content: tuple[str, tuple[Part, ...]]) -> str:
    """Return what contents have in common that are read together: the one pack in which they lie."""
    digest, parts = content
    return parts[0].key if len(parts) == 1 else digest


def _checked(digest: str) -> str:
    if not _DIGEST.fullmatch(digest):
        raise InvalidValue(f"{digest!r} is no SHA-256 digest")
    return digest
