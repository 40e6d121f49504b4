"""All machines, what runs on them, and what waits for them."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDocument(Document):
    """One GPU of a machine, and whose it is at this moment."""

    index: int
    uuid: str  #: "" where the cluster does not tell
    name: str
    memory_mib: int | None
    busy: str | None  #: what others than this server's experiments do with it
    experiment: str | None
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDocument(Document):
    """An experiment on a machine; machines, ranks and GPUs are those that it has there."""

    experiment: str
    run: str
    user: str
    state: str
    machines: int
    nodes: int
    ranks: int
    gpus: int
    simulated: bool
    started_at: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDocument(Document):
    """One machine and what runs on it."""

    hostname: str
    cluster: str
    cpus: int
    memory_mib: int
    available_mib: int | None
    cpu_ranks_used: int
    cpu_ranks_most: int  #: 0 on clusters, whose machines rehearse nothing
    gpus: list[GpuDocument]
    experiments: list[TenantDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinesDocument(Document):
    """All machines of all clusters."""

    machines: list[HostDocument]
    queued: int  #: experiments that wait


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow(Document):
    """An experiment that waits for machines."""

    position: int  #: from 1
    experiment: str
    run: str
    user: str
    reason: str
    gpus: int
    instance_type: str
    simulated: bool
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDocument(Document):
    """A page of the queue, oldest first."""

    queue: list[QueueRow]
    total: int
