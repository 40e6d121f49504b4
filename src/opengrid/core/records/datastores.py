"""Datastores: versions, their files, who uses them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class DatastoreState(str, Enum):
    """A datastore version's life."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DatastoreKind(str, Enum):
    """Where a datastore version's content rests."""

    COPIED = "copied"  #: in the store of contents, each content once
    REFERENCED = "referenced"  #: where it was, which is only looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreVersion:
    """One immutable version of a datastore."""

    name: str
    version: int  #: from 1
    user: str
    state: DatastoreState
    source: str
    digest: str | None  #: of its manifest
    files: int
    size: int  #: bytes
    created_us: int
    reason: str = ""
    kind: DatastoreKind = DatastoreKind.COPIED
    upload: str | None = None  #: names the upload that fills it, for going on with it; None when nobody can
    round: int = 1  #: how often that upload was begun
    ended_us: int | None = None  #: when it became whole, or failed

    @property
    def may_go_on(self) -> bool:
        """Whether it has failed, and what came of it rests: then it can be begun again."""
        return self.state is DatastoreState.FAILED and self.upload is not None


class DatastoreFile(NamedTuple):
    """One file of a datastore version: a tuple, as they are made by the thousand, and faster than other records."""

    position: int  #: from 0, in the order of paths
    path: str  #: relative, with `/`
    size: int  #: bytes
    digest: str  #: SHA-256 of the content; of what is only referred to, its ETag or time
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreUse:
    """A run that reads a datastore version, and its experiments that have not ended."""

    run: str
    active: tuple[str, ...]
