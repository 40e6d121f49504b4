"""What a cluster's machine offers at one moment, what an interpreter has, and the instance type `local`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from opengrid.planning.catalogue import LOCAL, InstanceType


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One real GPU."""

    uuid: str
    name: str  #: as its driver says: NVIDIA H100 80GB HBM3
    memory_mib: int
    busy: str | None = None  #: why it cannot be taken now (`in use by process 4711`); None when it is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """What the computer that stands in for machines has."""

    hostname: str
    cpus: int
    memory_mib: int  #: all of it
    available_mib: int  #: what the kernel could give at this moment without swapping
    accelerators: tuple[Accelerator, ...] = ()  #: in the driver's order, busy ones too
    simulates: bool = True  #: whether CPU ranks may stand in for GPUs here


@dataclass(frozen=True, slots=True, kw_only=True)
class Interpreter:
    """What the interpreter of the ranks has installed."""

    path: str
    version: str  #: 3.11.9
    torch: str | None = None  #: its version; "" when it does not tell; None when it is not installed
    lightning: str | None = None


def visible_accelerators(inventory: Inventory, shell: Mapping[str, str]) -> tuple[Accelerator, ...]:
    """Return the accelerators that the calling shell's CUDA_VISIBLE_DEVICES leaves, as CUDA reads it.

    Indices or UUIDs (also their unique beginnings), in the order given; the first entry that names none ends the list.
    """
    wanted = shell.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return inventory.accelerators
    visible: list[Accelerator] = []
    for entry in (part.strip() for part in wanted.split(",")):
        found = _named(inventory.accelerators, entry)
        if found is None or found in visible:
            break
        visible.append(found)
    return tuple(visible)


def _named(accelerators: tuple[Accelerator, ...], entry: str) -> Accelerator | None:
    if entry.isdecimal():
        return accelerators[int(entry)] if int(entry) < len(accelerators) else None
    matching = [a for a in accelerators if entry and a.uuid.lower().startswith(entry.lower())]
    return matching[0] if len(matching) == 1 else None


def in_words(accelerators: tuple[Accelerator, ...]) -> str:
    """Return `8 × NVIDIA H100 80GB HBM3`; several models are joined by ` + `."""
    counts: dict[str, int] = {}
    for accelerator in accelerators:
        counts[accelerator.name] = counts.get(accelerator.name, 0) + 1
    return " + ".join(f"{count} × {name}" for name, count in counts.items())


#: GPUs of a `local` machine on a computer that has none, when GPUs are asked for.
_STAND_IN_GPUS = 4


def local_type(inventory: Inventory, *, gpus_wanted: bool = False) -> InstanceType:
    """Return the type `local`: this computer as detected, at no price.

    Without accelerators it is a CPU machine, or, when GPUs are wanted, a machine of 4 GPUs that can only be simulated.
    """
    first = inventory.accelerators[0] if inventory.accelerators else None
    gpus = len(inventory.accelerators) or (_STAND_IN_GPUS if gpus_wanted else 0)
    return InstanceType(
        name=LOCAL,
        cloud="",
        provider=LOCAL,
        cpus=max(inventory.cpus, 1),
        memory_gb=max(round(inventory.memory_mib / 1024, 1), 0.1),
        gpus=gpus,
        accelerator=first.name if first is not None else ("GPU" if gpus else ""),
        gpu_memory_gb=max(round(first.memory_mib / 1024), 1) if first is not None else (1 if gpus else 0),
    )
