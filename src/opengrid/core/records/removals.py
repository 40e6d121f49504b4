"""What the store has forgotten, and lies on the disk until it is removed there, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRemoval:
    """What lies of datastores."""

    id: str
    contents: tuple[str, ...]  #: digests; other versions may have some of them
    versions: tuple[tuple[str, int], ...] = ()  #: whose trees go
    uploads: tuple[str, ...] = ()  #: names of the folders where they were staged
    kind: Literal["data"] = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRemoval:
    """What lies of experiments."""

    id: str
    contents: tuple[str, ...]  #: digests of artifacts; other experiments may have some of them
    attempts: tuple[str, ...] = ()  #: whose logs go
    experiments: tuple[tuple[str, str], ...] = ()  #: ids and names
    kind: Literal["run"] = "run"


Removal = DataRemoval | RunRemoval
