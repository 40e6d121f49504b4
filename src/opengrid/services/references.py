"""Data that versions only refer to: a folder that all machines see, or a prefix of a bucket.

Nothing is read of it but its list: each file is pinned by its size and by its ETag, or the time of its last change.
What does not fit that list any more is not the version that was made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from opengrid.core.errors import InvalidValue, Unusable
from opengrid.core.manifest import list_files
from opengrid.core.records.datastores import DatastoreFile

if TYPE_CHECKING:
    from opengrid.blobs.bucket import Object

_ETAG, _TIME = "etag:", "time:"


class ObjectReader(Protocol):
    """Reads objects."""

    def read(self, key: str, offset: int = 0, size: int | None = None, *, etag: str = "") -> Iterator[bytes]:
        """Yield the bytes of an object; DataChanged when its ETag is another one."""
        ...


class ForeignBucket(ObjectReader, Protocol):
    """A prefix of a bucket that others write to."""

    def objects(self, prefix: str = "") -> Iterator[Object]:
        """Yield all objects below it."""
        ...

    def links(self, method: str, keys: Sequence[str], valid_s: float) -> list[str]:
        """Return where to GET objects, for so long."""
        ...


#: Opens `s3://bucket/prefix`; InvalidValue for what is no such address.
OpenBucket = Callable[[str], ForeignBucket]


def no_bucket(source: str) -> ForeignBucket:
    """Refuse a bucket where none can be opened."""
    raise InvalidValue(f"{source}: this server opens no buckets", field="source")


def is_bucket(source: str) -> bool:
    """Return whether a source lies in a bucket."""
    return source.startswith("s3://")


def referred_files(source: str, open_bucket: OpenBucket) -> list[DatastoreFile]:
    """Return what lies at a source, sorted, each file with its pin instead of a digest.

    Unusable, InvalidValue for what the server does not see, and for nothing.
    """
    found = sorted(_objects(open_bucket(source)) if is_bucket(source) else _files(Path(source)))
    if not found:
        raise InvalidValue(f"{source} is empty", hint="a datastore needs at least one file", field="source")
    return [
        DatastoreFile(position=i, path=path, size=size, digest=pin, executable=executable)
        for i, (path, size, pin, executable) in enumerate(found)
    ]


def changed_files(before: Sequence[DatastoreFile], now: Sequence[DatastoreFile]) -> list[str]:
    """Return the paths that came, went, or are not what they were."""
    then = {file.path: (file.size, file.digest) for file in before}
    there = {file.path: (file.size, file.digest) for file in now}
    return sorted(path for path in then.keys() | there.keys() if then.get(path) != there.get(path))


def etag_of(file: DatastoreFile) -> str:
    """Return the ETag that pins an object."""
    return file.digest.removeprefix(_ETAG)


def _objects(bucket: ForeignBucket) -> Iterator[tuple[str, int, str, bool]]:
    for found in bucket.objects():
        if not found.key.endswith("/"):  # what some tools make for a folder
            yield found.key, found.size, f"{_ETAG}{found.etag}", False


def _files(folder: Path) -> Iterator[tuple[str, int, str, bool]]:
    if not folder.is_absolute() or not folder.is_dir():
        raise InvalidValue(
            f"the server sees no folder {folder}",
            hint="--no_copy is for a folder that all machines see, or s3://bucket/prefix",
            field="source",
        )
    try:
        for path, status in list_files(folder):
            yield path, status.st_size, f"{_TIME}{status.st_mtime_ns}", bool(status.st_mode & 0o111)
    except OSError as error:
        raise Unusable(
            f"cannot read {error.filename}: {error.strerror}", hint="see to it that the server may"
        ) from error
