"""Where code comes from and what will run where."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDocument(Document):
    """Where a link led."""

    url: str  #: of the repository
    ref: str  #: branch, tag or commit
    commit: str
    path: str  #: the program's, from the repository's root


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocument(Document):
    """What code runs."""

    line: str  #: all of it, for people
    ref: str | None
    root: str
    directory: str
    kind: str  #: git | folder
    commit: str | None
    patch: str | None  #: SHA-256 of the difference to the commit
    modified: int
    files: int
    size: int
    link: str | None
    place: PlaceDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MountDocument(Document):
    """A datastore version that a script reads."""

    name: str
    version: int
    path: str  #: where the script finds it
    text: str  #: the same in words, with how it gets there


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument(Document):
    """What will run where; core.gang.Plan."""

    cluster: str
    machines: int
    instance_type: str
    nodes: int
    gpus: int
    gpus_per_node: int
    cpus_per_node: int
    ranks_per_node: int
    world_size: int
    experiments: int
    price_per_hour: float
    cost_per_hour: float  #: what its machines really cost: nothing where they are simulated, or somebody's own
    simulated: bool
    devices: str
    python: str | None
    source: str
    packages: str  #: what names the packages that ranks need beside the interpreter's, "" when nothing does
    link: PlaceDocument | None
    reason: str
    mounts: list[MountDocument]  #: datastore versions that the script sees
    layout: list[list[int]]  #: nodes of each machine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDocument(Document):
    """Answer to a request that was only to be planned."""

    plan: PlanDocument
