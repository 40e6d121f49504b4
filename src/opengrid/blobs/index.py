"""Which contents a bucket holds, and where they lie in it.

A content is an object of its own, `ab/<sha256>`, or lies in packs, `packs/ab/<sha256>`: then an object `index/<name>`
says where. It is written after its packs, and from then on they are there. Contents that are removed are taken out of
their index; a pack goes when no content is left in it, and is never rewritten.
"""

from __future__ import annotations

import json
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import NamedTuple, cast

from opengrid.blobs.bucket import Bucket
from opengrid.core.packs import Packed

#: So many indexes are read at once.
_AT_ONCE = 32

#: A pack that no index names is an upload under way, or one that was given up if it is as old as this.
_GIVEN_UP = timedelta(days=1)


class Part(NamedTuple):
    """Bytes of an object."""

    key: str
    offset: int
    size: int


@dataclass(slots=True)
class _Content:
    parts: tuple[Part, ...]
    index: str | None  #: the object that says so; None: the content is an object of its own

    @property
    def size(self) -> int:
        return sum(part.size for part in self.parts)


class Index:
    """What is in one bucket, which nobody else writes to. It is listed once, at the first question."""

    def __init__(self, bucket: Bucket, *, now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)) -> None:
        self._bucket, self._now = bucket, now
        self._lock = threading.RLock()
        self._contents: dict[str, _Content] | None = None
        self._users: Counter[str] = Counter()  #: of each pack: contents in it
        self._packs: dict[str, int] = {}  #: bytes of each pack, by key

    def find(self, digest: str) -> tuple[Part, ...] | None:
        """Return where a content lies; None when it is not in the bucket."""
        found = self._known().get(digest)
        return found.parts if found is not None else None

    def size(self, digest: str) -> int | None:
        """Return a content's bytes; None when it is not in the bucket."""
        found = self._known().get(digest)
        return found.size if found is not None else None

    def lacks(self, packs: Iterable[str]) -> list[str]:
        """Return those of these packs that are not in the bucket."""
        self._known()
        return [pack for pack in dict.fromkeys(packs) if self._pack_size(pack) is None]

    def add_whole(self, digest: str, size: int) -> None:
        """Know a content that was written as an object of its own."""
        known = self._known()
        with self._lock:
            known.setdefault(digest, _Content((Part(whole_key(digest), 0, size),), None))

    def add_packed(self, contents: Collection[Packed]) -> list[str]:
        """Write an index of contents that are in packs; return packs that are not there, or too short: then nothing is.

        Contents that are known stay where they are. Repeating is harmless.
        """
        known = self._known()
        with self._lock:  # nobody removes a pack meanwhile
            new = [content for content in contents if content.sha256 not in known]
            ends: dict[str, int] = {}
            for content in new:
                for extent in content.extents:
                    ends[extent.pack] = max(ends.get(extent.pack, 0), extent.offset + extent.size)
            missing = [pack for pack, end in ends.items() if (self._pack_size(pack) or 0) < end]
            if missing or not new:
                return missing
            name = f"index/{uuid.uuid4().hex}"
            parts = {content.sha256: _parts(content) for content in new}
            self._bucket.put(name, _encoded(parts))
            self._take(known, name, parts)
            return []

    def remove(self, digests: Collection[str]) -> int:
        """Forget contents, and delete what nobody needs any more; return the bytes that this freed."""
        known = self._known()
        with self._lock:
            gone = {digest: known[digest] for digest in digests if digest in known}
            self._shrink(gone)
            unneeded = {part.key: part.size for found in gone.values() if not found.index for part in found.parts}
            for digest, found in gone.items():
                del known[digest]
                if found.index:
                    self._users.subtract({part.key for part in found.parts})
            keys = {part.key for found in gone.values() if found.index for part in found.parts}
            for key in keys:
                if self._users[key] <= 0:
                    del self._users[key]
                    unneeded[key] = self._packs.pop(key, 0)
            self._bucket.delete(unneeded)
            return sum(unneeded.values())

    def _shrink(self, gone: Mapping[str, _Content]) -> None:
        """Take contents out of their indexes: first of all, so that none ever tells of a pack that is not there."""
        known = self._known()
        touched = {found.index for found in gone.values() if found.index}
        left: dict[str, dict[str, tuple[Part, ...]]] = {index: {} for index in touched}
        if not touched:
            return
        for digest, found in known.items():
            if found.index in touched and digest not in gone:
                left[found.index][digest] = found.parts
        for index, parts in left.items():
            if parts:
                self._bucket.put(index, _encoded(parts))
        self._bucket.delete([index for index, parts in left.items() if not parts])

    def _pack_size(self, pack: str) -> int | None:
        key = pack_key(pack)
        if key not in self._packs:
            size = self._bucket.size(key)
            if size is None:
                return None
            self._packs[key] = size
        return self._packs[key]

    def _known(self) -> dict[str, _Content]:
        with self._lock:
            if self._contents is None:
                self._load()
            return cast("dict[str, _Content]", self._contents)

    def _load(self) -> None:
        self._users, self._packs = Counter(), {}
        indexes: list[str] = []
        old: list[str] = []
        contents: dict[str, _Content] = {}
        for found in self._bucket.objects():
            folder, _, name = found.key.rpartition("/")
            if folder == "index":
                indexes.append(found.key)
            elif folder.startswith("packs/"):
                self._packs[found.key] = found.size
                if self._now() - found.modified > _GIVEN_UP:
                    old.append(found.key)
            else:
                contents[name] = _Content((Part(found.key, 0, found.size),), None)
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for index, parts in zip(indexes, threads.map(self._read, indexes), strict=True):
                self._take(contents, index, parts)
        given_up = [key for key in old if not self._users[key]]
        self._bucket.delete(given_up)
        for key in given_up:
            del self._packs[key]
        self._contents = contents

    def _read(self, index: str) -> dict[str, tuple[Part, ...]]:
        body = b"".join(self._bucket.read(index))
        document = cast("dict[str, dict[str, list[tuple[str, int, int]]]]", json.loads(body))
        return {
            digest: tuple(Part(pack_key(pack), offset, size) for pack, offset, size in extents)
            for digest, extents in document["contents"].items()
        }

    def _take(self, known: dict[str, _Content], index: str, contents: Mapping[str, tuple[Part, ...]]) -> None:
        for digest, parts in contents.items():
            if digest not in known:
                known[digest] = _Content(parts, index)
                self._users.update({part.key for part in parts})


def whole_key(digest: str) -> str:
    """Return the key of a content that is an object of its own."""
    return f"{digest[:2]}/{digest}"


def pack_key(pack: str) -> str:
    """Return the key of a pack."""
    return f"packs/{pack[:2]}/{pack}"


def _parts(content: Packed) -> tuple[Part, ...]:
    return tuple(Part(pack_key(extent.pack), extent.offset, extent.size) for extent in content.extents)


def _encoded(contents: Mapping[str, Sequence[Part]]) -> bytes:
    listed = {
        digest: [(part.key.rpartition("/")[2], part.offset, part.size) for part in parts]
        for digest, parts in contents.items()
    }
    return json.dumps({"contents": listed}, separators=(",", ":")).encode()
