"""Files that experiments made."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow:
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
class ArtifactsDocument:
    """A page of an experiment's artifacts, by path and node."""

    artifacts: list[ArtifactRow]
    total: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRow:
    """A folder among an experiment's files; at the top, one node's."""

    name: str
    files: int  #: in it and below
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFolderDocument:
    """A page of a folder: its folders, then its files. Without a node, the nodes are the folders."""

    node: int | None
    path: str
    folders: list[FolderRow]
    files: list[ArtifactRow]
    total: int  #: folders and files


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDocument:
    """A link that downloads a file without signing in."""

    url: str
    expires_at: str
