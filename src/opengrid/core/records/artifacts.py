"""Files that experiments made."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that an experiment made: the newest version of what one node has under one path."""

    experiment_id: str
    node: int  #: index of the node that wrote it
    path: str  #: relative to the node's work folder, with `/`
    version: int  #: from 1; how often it was collected
    attempt: int  #: number of the attempt that wrote this version; 0: the server's own record of the experiment
    digest: str  #: SHA-256 of the content
    size: int  #: bytes
    modified_us: int  #: as the writer's file system says
    collected_us: int

    @property
    def is_record(self) -> bool:
        """Whether it is what the server writes of an experiment, and no rank has made."""
        return self.attempt == 0

    @property
    def id(self) -> str:
        """What names it in addresses and in the database, however long its path is and whatever it holds."""
        return hashlib.sha256(f"{self.node}\0{self.path}".encode("utf-8", "replace")).hexdigest()
