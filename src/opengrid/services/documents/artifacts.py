"""Files that experiments made."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow(Document):
    """A file that an experiment made: its newest version."""

    id: str
    path: str
    node: int
    size: int
    sha256: str
    version: int
    attempt: int
    modified_at: str
    stored_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactsDocument(Document):
    """A page of an experiment's artifacts, by path and node."""

    artifacts: list[ArtifactRow]
    total: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRow(Document):
    """A folder among an experiment's files; at the top, one node's."""

    name: str
    files: int  #: in it and below
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFolderDocument(Document):
    """A page of a folder: its folders, then its files. Without a node, the nodes are the folders."""

    node: int | None
    path: str
    folders: list[FolderRow]
    files: list[ArtifactRow]
    total: int  #: folders and files


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDocument(Document):
    """A link that downloads a file without signing in."""

    url: str
    expires_at: str
