"""Types of machines, with their prices."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTypeRow(Document):
    """One type of machine; prices in US dollars per hour, null where there is none."""

    name: str
    value: str  #: names this machine alone, where several share a nickname
    cloud: str
    label: str  #: for people, with the price
    spot_label: str | None
    on_demand: float
    spot: float | None
    cpus: int
    gpus: int
    memory_gb: float
    accelerator: str
    gpu_memory_gb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTypesDocument(Document):
    """All types of machines: first this computer, or the machines that the cluster has."""

    instance_types: list[InstanceTypeRow]
