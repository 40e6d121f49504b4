"""Datastores on a machine that does not see the server's disk, or whose server keeps contents in a bucket.

Each version is a tree of the machine's cache. What the cache lacks is fetched by links, several objects at a time:
files that lie side by side in a pack with one request, large ones piece by piece; a connection that is cut is gone on
with, and a link that expires is asked for again.
"""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qsl, urlsplit

from opengrid.client.http import Http
from opengrid.client.links import BucketClient, Link
from opengrid.core.codec import from_json
from opengrid.core.errors import GridError, Unusable
from opengrid.core.mounts import Mount
from opengrid.core.protocol import Assignment, DataFile, DataFiles
from opengrid.node.cache import NO_ROOM, DataCache
from opengrid.node.link import Channel

_PAGE = 5000

#: Bytes between two files of a pack that are read rather than asked around.
_GAP = 1 << 20

#: So many objects are fetched at a time.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file's bytes are: pieces of the links of one page of the list."""

    file: DataFile
    offset: int  #: of the page
    links: tuple[str, ...]


def fetch_data(assignment: Assignment, cache: DataCache | None, channel: Channel) -> None:
    """Make the trees of all mounts; blocks. Each appears when its last file was checked.

    Unusable for a folder that all machines should see and this one does not.
    """
    for mount in assignment.mounts:
        if mount.is_shared and not Path(mount.source).is_dir():
            raise Unusable(
                f"datastore {mount.name}:{mount.version} is {mount.source}, which this machine does not see",
                hint="mount it at the same path on all machines, or create the datastore without --no_copy",
            )
    if cache is None:
        return
    for source, mount in {mount.source: mount for mount in assignment.mounts if mount.is_fetched}.items():
        _Fetch(mount, cache, channel).make(Path(source))


class _Reader:
    """What the server and the bucket tell of a version, over connections of its own: for one thread."""

    def __init__(self, mount: Mount, channel: Channel) -> None:
        self._files = f"/agent/v1/data/{mount.name}/{mount.version}/files"
        self._channel, self._bucket = channel, BucketClient()

    def close(self) -> None:
        """Close the connections."""
        self._channel.close()
        self._bucket.close()

    def page(self, offset: int) -> DataFiles:
        """Return a page of the version's files, with new links."""
        query = {"offset": offset, "limit": _PAGE}
        return self._channel.call_until_answered(
            lambda http: from_json(DataFiles, http.request("GET", self._files, query=query).json()),
            timeout_s=float("inf"),
        )

    def read(self, place: _Place, link: int, offset: int, size: int, take: Callable[[bytes], None]) -> None:
        """Give `take` the bytes of a part of what a link leads to."""
        url = place.links[link]
        if url.startswith("/"):
            self._read_from_server(url, offset, size, take)
            return
        fresh = Link(url, lambda: self.page(place.offset).links[link])
        for block in self._bucket.get(fresh, offset, size, etag=place.file.etag):
            take(block)

    def _read_from_server(self, link: str, offset: int, size: int, take: Callable[[bytes], None]) -> None:
        path, query = urlsplit(link).path, dict(parse_qsl(urlsplit(link).query))
        come = 0

        def download(http: Http) -> None:
            nonlocal come
            headers = {"Range": f"bytes={offset + come}-{offset + size - 1}"}
            with http.stream("GET", path, query=query, headers=headers, timeout_s=60) as blocks:
                for block in blocks:
                    come += len(block)
                    take(block)

        while come < size:
            self._channel.call_until_answered(download, timeout_s=float("inf"))


class _Fetch:
    """One version, into one cache."""

    def __init__(self, mount: Mount, cache: DataCache, channel: Channel) -> None:
        self._mount, self._cache = mount, cache
        self._readers = [_Reader(mount, channel.another()) for _ in range(_AT_ONCE)]
        self._idle = queue.SimpleQueue[_Reader]()
        self._version = f"{mount.name}:{mount.version}"

    def make(self, tree: Path) -> None:
        for reader in self._readers:
            self._idle.put(reader)
        try:
            tree.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._cache.take(f"{self._mount.name}-{self._mount.version}", tree, self._bring)
        except OSError as error:
            raise Unusable(
                f"cannot keep datastore {self._version} in {tree}: {error.strerror}", hint=NO_ROOM
            ) from error
        finally:
            for reader in self._readers:
                reader.close()

    def _bring(self, checks: bool) -> Sequence[DataFile]:
        places = list(self._list())
        if checks:
            for file in {place.file.sha256: place.file for place in places}.values():
                self._cache.check(file.sha256)  # which takes away what no digest vouches for
        for last in (False, True):
            missing = {p.file.sha256: p for p in places if not self._cache.has(p.file.sha256, p.file.size)}
            if missing:
                self._cache.reserve(sum(place.file.size for place in missing.values()))
            damaged = self._fetch(list(missing.values()))
            if not damaged:
                break
            if last:
                raise GridError(
                    f"{damaged[0].path} of datastore {self._version} arrived damaged",
                    hint=f"`grid datastore verify {self._version}` says what is",
                )
        return [place.file for place in places]

    def _list(self) -> Iterator[_Place]:
        offset = 0
        while True:
            page = self._readers[0].page(offset)
            for file in page.files:
                yield _Place(file, offset, page.links)
            offset += len(page.files)
            if not page.files or offset >= page.total:
                return

    def _fetch(self, places: list[_Place]) -> list[DataFile]:
        """Fetch contents, several objects at a time; return the files whose content did not arrive as it should be."""
        large = [[place] for place in places if len(place.file.pieces) != 1]
        runs = [*large, *_runs([place for place in places if len(place.file.pieces) == 1])]
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="data") as threads:
            return [file for damaged in threads.map(self._fetch_run, runs) for file in damaged]

    def _fetch_run(self, run: list[_Place]) -> list[DataFile]:
        """Fetch a content, or several that lie one behind the other in one object."""
        reader = self._idle.get()
        try:
            if len(run) == 1:
                return [] if self._fetch_pieces(reader, run[0]) else [run[0].file]
            return self._fetch_together(reader, run)
        finally:
            self._idle.put(reader)

    def _fetch_together(self, reader: _Reader, run: list[_Place]) -> list[DataFile]:
        first, last = run[0].file.pieces[0], run[-1].file.pieces[0]
        damaged: list[DataFile] = []
        buffer, at = bytearray(), first.offset
        left = iter(run)
        place = next(left, None)

        def take(block: bytes) -> None:
            nonlocal at, place
            buffer.extend(block)
            while place is not None and len(buffer) >= place.file.pieces[0].offset - at + place.file.size:
                start = place.file.pieces[0].offset - at
                content = bytes(memoryview(buffer)[start : start + place.file.size])
                if not self._keep(place.file, content):
                    damaged.append(place.file)
                del buffer[: start + place.file.size]
                at += start + place.file.size
                place = next(left, None)

        reader.read(run[0], first.link, first.offset, last.offset + last.size - first.offset, take)
        return damaged

    def _keep(self, file: DataFile, content: bytes) -> bool:
        if hashlib.sha256(content).hexdigest() != file.sha256:
            return False
        self._cache.partial(file.sha256).write_bytes(content)
        self._cache.keep(file.sha256)
        return True

    def _fetch_pieces(self, reader: _Reader, place: _Place) -> bool:
        """Fetch a content that may be large: what an earlier try has left of it is kept."""
        digest, partial = hashlib.sha256(), self._cache.partial(place.file.sha256)
        with partial.open("a+b") as file:
            done = _read_begun(file, place.file.size, digest.update)

            def take(block: bytes) -> None:
                file.write(block)
                digest.update(block)

            for piece in place.file.pieces:
                skipped = min(done, piece.size)
                done -= skipped
                reader.read(place, piece.link, piece.offset + skipped, piece.size - skipped, take)
        if place.file.etag is None and digest.hexdigest() != place.file.sha256:
            partial.unlink()
            return False
        self._cache.keep(place.file.sha256)
        return True


def _runs(places: list[_Place]) -> Iterator[list[_Place]]:
    """Divide contents by the object in which they lie, and where much lies between them."""
    run: list[_Place] = []
    end = 0
    for place in sorted(places, key=_where):
        piece = place.file.pieces[0]
        if run and (_object(run[-1]) != _object(place) or not 0 <= piece.offset - end <= _GAP):
            yield run
            run = []
        run.append(place)
        end = piece.offset + piece.size
    if run:
        yield run


def _where(place: _Place) -> tuple[str, int]:
    return _object(place), place.file.pieces[0].offset


def _object(place: _Place) -> str:
    """Return what names the object of a file: its address without what expires."""
    url = place.links[place.file.pieces[0].link]
    return url if url.startswith("/") else url.partition("?")[0]


def _read_begun(file: BinaryIO, size: int, take: Callable[[bytes], object]) -> int:
    """Read what is in a file, which ends at `size` at the latest; return how much that is."""
    file.truncate(min(size, file.seek(0, 2)))
    file.seek(0)
    done = 0
    while block := file.read(1 << 20):
        take(block)
        done += len(block)
    return done
