"""Where contents rest: in folders, or in a bucket."""

from __future__ import annotations

from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.blobs.folder import FolderBlobs
from opengrid.server.settings import Settings
from opengrid.services.references import ForeignBucket


def open_blobs(settings: Settings, kind: str, folder: Path) -> Blobs:
    """Return the store of one kind of contents: a folder, or a part of the bucket, of which the folder is the cache."""
    if settings.storage is None:
        return FolderBlobs(folder)
    from opengrid.blobs.objects import ObjectBlobs  # loads a library that only servers with a bucket need

    return ObjectBlobs(f"{settings.storage.rstrip('/')}/{kind}", folder, most_cached=settings.content_cache)


def open_bucket(source: str) -> ForeignBucket:
    """Return a prefix of a bucket that others write to."""
    from opengrid.blobs.bucket import Bucket  # as above

    return Bucket(source)
