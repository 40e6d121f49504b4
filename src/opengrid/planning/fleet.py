"""The machines of a cluster, as its engine tells, and whether gangs fit on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from opengrid.core.gang import Bundle
from opengrid.planning.markets import SPOT


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetMachine:
    """One machine of a cluster."""

    id: str  #: as the engine calls it; "" for one that is not there yet
    address: str  #: "" for one that is not there yet
    kind: str  #: its machine type, as the cluster's own configuration names it; "" when it names none
    cpus: int
    gpus: int
    memory_mib: int
    accelerator: str = ""  #: model of its GPUs, as the engine detected it: V100; "" when that is not known
    market: str = ""  #: that it comes from: spot, on_demand; "" where the cluster's configuration does not say


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """All machines of a cluster at one moment."""

    cluster: str
    machines: tuple[FleetMachine, ...]
    possible: tuple[FleetMachine, ...] = ()  #: machines that it would start when they are needed
    problem: str | None = None  #: why its engine does not answer; the machines are then what was last known

    @property
    def all(self) -> tuple[FleetMachine, ...]:
        """What it has and what it could have."""
        return (*self.machines, *self.possible)

    @property
    def has_spot(self) -> bool:
        """Whether some of its machines may be taken away by a market."""
        return any(machine.market == SPOT for machine in self.all)

    def of_market(self, market: str) -> Fleet:
        """Return the machines that come from a market."""
        return replace(
            self,
            machines=tuple(machine for machine in self.machines if machine.market == market),
            possible=tuple(machine for machine in self.possible if machine.market == market),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A gang that is on machines, or will be: its bundles, and the machine's address where it is known."""

    bundles: tuple[Bundle, ...]
    addresses: tuple[str | None, ...]


def fits(machines: Sequence[FleetMachine], placed: Iterable[Placed]) -> bool:
    """Return whether all gangs can be on these machines at once, each bundle of a gang on a machine of its own.

    Greedy: known places first, then gang after gang in the order given, the largest bundle on the machine that it fills
    best. The engine may still place otherwise; then a gang waits there for a while.
    """
    room = [_Room(machine) for machine in machines]
    gangs = list(placed)
    taken: list[set[int]] = [set() for _ in gangs]
    for gang, used in zip(gangs, taken, strict=True):
        for bundle, address in zip(gang.bundles, gang.addresses, strict=True):
            there = [i for i, one in enumerate(room) if address and one.machine.address == address and i not in used]
            if there:  # several nodes of one address are one computer's
                at = next((i for i in there if room[i].holds(bundle)), there[0])
                room[at].take(bundle)
                used.add(at)
    for gang, used in zip(gangs, taken, strict=True):
        known = {machine.address for machine in machines}
        loose = [b for b, address in zip(gang.bundles, gang.addresses, strict=True) if address not in known]
        for bundle in sorted(loose, key=lambda b: (b.gpus, b.cpus), reverse=True):
            chosen = [i for i, one in enumerate(room) if i not in used and one.holds(bundle)]
            if not chosen:
                return False
            best = min(chosen, key=lambda i: (room[i].gpus, room[i].cpus))
            room[best].take(bundle)
            used.add(best)
    return True


class _Room:
    """What is left of a machine."""

    def __init__(self, machine: FleetMachine) -> None:
        self.machine, self.cpus, self.gpus = machine, machine.cpus, machine.gpus

    def holds(self, bundle: Bundle) -> bool:
        if bundle.market and bundle.market != self.machine.market:
            return False
        if bundle.accelerator and bundle.accelerator != self.machine.accelerator:
            return False
        return bundle.cpus <= self.cpus and bundle.gpus <= self.gpus

    def take(self, bundle: Bundle) -> None:
        self.cpus -= bundle.cpus
        self.gpus -= bundle.gpus


def gpus_in_words(number: int, model: str) -> str:
    """Return `4 × V100`, or `4 GPUs` of a model that is not known."""
    return f"{number} × {model}" if model not in ("", "GPU") else f"{number} GPU{'s' if number != 1 else ''}"


def fleet_in_words(machines: Iterable[FleetMachine]) -> str:
    """Return `2 machines with 4 × V100, 1 machine without GPUs`."""
    counts: dict[str, int] = {}
    for machine in sorted(machines, key=lambda m: -m.gpus):
        what = f"with {gpus_in_words(machine.gpus, machine.accelerator)}" if machine.gpus else "without GPUs"
        counts[what] = counts.get(what, 0) + 1
    return ", ".join(f"{count} machine{'s' if count > 1 else ''} {what}" for what, count in counts.items()) or "none"
