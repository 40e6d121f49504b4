"""The machines that can be asked for, as rows."""

from __future__ import annotations

from opengrid.planning.catalogue import LOCAL, Catalogue, InstanceType
from opengrid.planning.fleet import Fleet
from opengrid.planning.fleet_plan import own_type
from opengrid.planning.inventory import Inventory, in_words
from opengrid.planning.sentences import fleet_label, here_label, type_label
from opengrid.services.documents.instance_types import InstanceTypeRow


def instance_type_rows(catalogue: Catalogue, machines: Inventory | Fleet) -> list[InstanceTypeRow]:
    """Return this computer, or the machines that a cluster has, then every type of the catalogue in its order."""
    own = _here(machines) if isinstance(machines, Inventory) else _of_fleet(machines)
    return [*own, *(_row(catalogue, kind) for kind in catalogue.types)]


def _of_fleet(fleet: Fleet) -> list[InstanceTypeRow]:
    if not fleet.all:
        return []
    kind = own_type(fleet)
    row = InstanceTypeRow(
        name=LOCAL,
        value=LOCAL,
        cloud=fleet.cluster,
        label=fleet_label(fleet, kind),
        spot_label=None,
        on_demand=0.0,
        spot=None,
        cpus=kind.cpus,
        gpus=kind.gpus,
        memory_gb=kind.memory_gb,
        accelerator=kind.accelerator,
        gpu_memory_gb=kind.gpu_memory_gb,
    )
    return [row]


def _here(inventory: Inventory) -> list[InstanceTypeRow]:
    row = InstanceTypeRow(
        name=LOCAL,
        value=LOCAL,
        cloud=inventory.hostname,
        label=here_label(inventory),
        spot_label=None,
        on_demand=0.0,
        spot=None,
        cpus=inventory.cpus,
        gpus=len(inventory.accelerators),
        memory_gb=round(inventory.memory_mib / 1024),
        accelerator=in_words(inventory.accelerators),
        gpu_memory_gb=round(min((a.memory_mib for a in inventory.accelerators), default=0) / 1024),
    )
    return [row]


def _row(catalogue: Catalogue, kind: InstanceType) -> InstanceTypeRow:
    return InstanceTypeRow(
        name=kind.name,
        value=kind.name if catalogue.find(kind.name) == kind else kind.cloud,
        cloud=kind.cloud,
        label=type_label(kind, kind.on_demand),
        spot_label=type_label(kind, kind.spot) if kind.spot is not None else None,
        on_demand=kind.on_demand,
        spot=kind.spot,
        cpus=kind.cpus,
        gpus=kind.gpus,
        memory_gb=kind.memory_gb,
        accelerator=kind.accelerator,
        gpu_memory_gb=kind.gpu_memory_gb,
    )
