"""Datastores: their versions and files, how a version is filled, looked at and deleted."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreRow(Document):
    """One version of a datastore; of one that is being filled, `files` and `size` say what has come so far."""

    name: str
    version: int
    state: str
    reason: str
    may_go_on: bool  #: whether it has failed, and can be begun again where it was
    kind: str
    files: int
    size: int
    source: str
    digest: str | None
    user: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoresDocument(Document):
    """A page of datastore versions, newest first."""

    datastores: list[DatastoreRow]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreUseRow(Document):
    """A run that uses a version; `experiments` are those that have not ended."""

    run: str
    active: bool
    experiments: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreDocument(DatastoreRow):
    """One version of a datastore, with who uses it."""

    used_by: list[DatastoreUseRow]
    protection: str  #: how scripts are kept from changing it, in words
    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreFileRow(Document):
    """A file of a datastore version."""

    path: str
    size: int
    sha256: str  #: "" where the content is not known, but only its `pin`
    pin: str  #: "" or `etag:…` or `time:…` of a file that is only referred to


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreFilesDocument(Document):
    """A page of a version's files, by path; `total` and `size` are of all of them."""

    files: list[DatastoreFileRow]
    total: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadDocument(Document):
    """A datastore version that takes its files, and the folders to put them in, on the server's host."""

    name: str
    version: int
    upload: str
    round: int
    staging: str  #: for contents, each under its SHA-256
    tree: str | None  #: for small files, as they will lie in the version
    least_free: int
    resumed: bool
    links: bool  #: whether contents are put over links, in packs


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedContents(Document):
    """Contents that must be brought and then offered again, by their SHA-256."""

    wanted: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivedDocument(Document):
    """How many bytes of a content the server has."""

    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictDocument(Document):
    """What a look at every byte of a datastore version has found."""

    files: int
    damaged: list[str]
    repaired: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedDatastoreDocument(Document):
    """Versions that are gone, and the bytes that this freed."""

    deleted: list[int]
    freed: int
