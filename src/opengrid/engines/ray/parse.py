"""A Ray cluster's nodes as machines: what it has, and what its autoscaler may start. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from opengrid.engines.ray.jobs_api import RayNode
from opengrid.planning.catalogue import Catalogue, normal
from opengrid.planning.fleet import FleetMachine
from opengrid.planning.markets import ON_DEMAND, SPOT, find_machine_type, spot_name

_ACCELERATOR = "accelerator_type:"


def machines_of(nodes: Iterable[RayNode]) -> tuple[FleetMachine, ...]:
    """Return the nodes that can run anything."""
    machines = [
        FleetMachine(
            id=node.id,
            address=node.address,
            kind=node.kind,
            cpus=int(node.resources.get("CPU", 0)),
            gpus=int(node.resources.get("GPU", 0)),
            memory_mib=int(node.resources.get("memory", 0)) >> 20,
            accelerator=_accelerator_of(node),
            market=next((market for market in (SPOT, ON_DEMAND) if node.resources.get(market)), ""),
        )
        for node in nodes
    ]
    return tuple(sorted((m for m in machines if m.cpus), key=lambda machine: machine.address))


def _accelerator_of(node: RayNode) -> str:
    """Return the model of a node's GPUs; where it has a closer name too, such as A100-80G, the one without."""
    names = [name.removeprefix(_ACCELERATOR) for name in node.resources if name.startswith(_ACCELERATOR)]
    return min(names, key=len, default="")


def possible_of(
    most: Mapping[str, int], machines: Sequence[FleetMachine], catalogue: Catalogue
) -> tuple[FleetMachine, ...]:
    """Return the machines that a cluster could start: of each type as many as are left of its most.

    One that has spot types starts the others on demand.
    """
    possible: list[FleetMachine] = []
    found = [(*find_machine_type(name, catalogue), number) for name, number in most.items()]
    has_spot = any(is_spot for _, is_spot, _ in found) or any(machine.market == SPOT for machine in machines)
    for kind, is_spot, number in found:
        names = {normal(spot_name(spelling) if is_spot else spelling) for spelling in kind.spellings}
        running = sum(normal(machine.kind) in names for machine in machines)
        possible += [
            FleetMachine(
                id="",
                address="",
                kind=spot_name(kind.name) if is_spot else kind.name,
                cpus=kind.cpus,
                gpus=kind.gpus,
                memory_mib=int(kind.memory_gb * 1024),
                accelerator=kind.accelerator,
                market=SPOT if is_spot else ON_DEMAND if has_spot else "",
            )
        ] * max(0, number - running)
    return tuple(possible)
