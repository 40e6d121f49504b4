"""Datastores as the stable JSON of the API and of `-o json`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from opengrid.core.records.datastores import DatastoreFile, DatastoreUse, DatastoreVersion
from opengrid.services.documents.datastores import (
    DatastoreDocument,
    DatastoreFileRow,
    DatastoreRow,
    DatastoreUseRow,
)
from opengrid.services.views import at_text


def datastore_row(version: DatastoreVersion) -> DatastoreRow:
    """Return one row of the list of datastore versions."""
    return DatastoreRow(
        name=version.name,
        version=version.version,
        state=version.state.value,
        reason=version.reason,
        may_go_on=version.may_go_on,
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
    used_by = [DatastoreUseRow(run=use.run, active=bool(use.active), experiments=list(use.active)) for use in uses]
    row = dataclasses.asdict(datastore_row(version))
    return DatastoreDocument(**row, used_by=used_by, protection=protection, location=location)


def file_row(file: DatastoreFile) -> DatastoreFileRow:
    """Return one row of the list of a version's files."""
    if ":" in file.digest:
        return DatastoreFileRow(path=file.path, size=file.size, sha256="", pin=file.digest)
    return DatastoreFileRow(path=file.path, size=file.size, sha256=file.digest, pin="")
