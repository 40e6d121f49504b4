"""Datastores as the stable JSON of the API and of `-o json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from opengrid.core.records import DatastoreFile, DatastoreUse, DatastoreVersion
from opengrid.services.views import at_text


@dataclass(frozen=True, kw_only=True)
class DatastoreRow:
    """One version of a datastore; of one that is being filled, `files` and `size` say what has come so far."""

    name: str
    version: int
    state: str
    reason: str
    kind: str
    files: int
    size: int
    source: str
    digest: str | None
    user: str
    created_at: str


@dataclass(frozen=True, kw_only=True)
class DatastoresDocument:
    """A page of datastore versions, newest first."""

    datastores: list[DatastoreRow]
    total: int


@dataclass(frozen=True, kw_only=True)
class UseRow:
    """A run that uses a version; `experiments` are those that have not ended."""

    run: str
    active: bool
    experiments: list[str]


@dataclass(frozen=True, kw_only=True)
class DatastoreDocument(DatastoreRow):
    """One version of a datastore, with who uses it."""

    used_by: list[UseRow]
    protection: str  #: how scripts are kept from changing it, in words
    location: str


@dataclass(frozen=True, kw_only=True)
class DatastoreFileRow:
    """A file of a datastore version."""

    path: str
    size: int
    sha256: str  #: "" where the content is not known, but only its `pin`
    pin: str = ""  #: `etag:…` or `time:…` of a file that is only referred to


@dataclass(frozen=True, kw_only=True)
class DatastoreFilesDocument:
    """A page of a version's files, by path; `total` and `size` are of all of them."""

    files: list[DatastoreFileRow]
    total: int
    size: int


def datastore_row(version: DatastoreVersion) -> DatastoreRow:
    """Return one row of the list of datastore versions."""
    return DatastoreRow(
        name=version.name,
        version=version.version,
        state=version.state.value,
        reason=version.reason,
        kind=version.kind.value,
        files=version.files,
        size=version.size,
        source=version.source,
        digest=version.digest,
        user=version.user,
        created_at=at_text(version.created_us),
    )


def datastore_document(
    version: DatastoreVersion, uses: Sequence[DatastoreUse], *, protection: str, location: str
) -> DatastoreDocument:
    """Return one version with who uses it."""
    used_by = [UseRow(run=use.run, active=bool(use.active), experiments=list(use.active)) for use in uses]
    row = dataclasses.asdict(datastore_row(version))
    return DatastoreDocument(**row, used_by=used_by, protection=protection, location=location)


def file_row(file: DatastoreFile) -> DatastoreFileRow:
    """Return one row of the list of a version's files."""
    if ":" in file.digest:
        return DatastoreFileRow(path=file.path, size=file.size, sha256="", pin=file.digest)
    return DatastoreFileRow(path=file.path, size=file.size, sha256=file.digest)
