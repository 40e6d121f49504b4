"""A Ray cluster's nodes as machines: what it has, and what its autoscaler may start. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from opengrid.engines.ray.jobs_api import RayNode
from opengrid.planning.catalogue import Catalogue, InstanceType, normal
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


def named(machines: Sequence[FleetMachine], most: Mapping[str, int], catalogue: Catalogue) -> tuple[FleetMachine, ...]:
    """Return the machines with the types that they must be: not every autoscaler tells Ray what it has started.

    A machine without a type is one of those that the cluster can start, when it has their CPUs and GPUs.
    """
    kinds = [find_machine_type(name, catalogue) for name in most]
    left = {
        name: number - sum(_is_of(machine, kind, is_spot=is_spot) for machine in machines)
        for (name, number), (kind, is_spot) in zip(most.items(), kinds, strict=True)
    }
    found: list[FleetMachine] = []
    for machine in machines:
        alike = (n for n, (kind, spot) in zip(most, kinds, strict=True) if left[n] > 0 and _fits(machine, kind, spot))
        name = None if machine.kind else next(alike, None)
        if name is not None:
            left[name] -= 1
        found.append(machine if name is None else replace(machine, kind=name))
    return tuple(found)


def _is_of(machine: FleetMachine, kind: InstanceType, *, is_spot: bool) -> bool:
    names = (spot_name(spelling) if is_spot else spelling for spelling in kind.spellings)
    return normal(machine.kind) in map(normal, names)


def _fits(machine: FleetMachine, kind: InstanceType, is_spot: bool) -> bool:
    if machine.market and (machine.market == SPOT) != is_spot:
        return False
    model = machine.accelerator if kind.gpus else ""
    return (machine.cpus, machine.gpus) == (kind.cpus, kind.gpus) and model in ("", kind.accelerator)


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
        running = sum(_is_of(machine, kind, is_spot=is_spot) for machine in machines)
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
