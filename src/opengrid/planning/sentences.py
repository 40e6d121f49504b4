"""Plans and machine types as people say them, in one line. Pure."""

from __future__ import annotations

from opengrid.core.gang import Plan
from opengrid.planning.catalogue import InstanceType
from opengrid.planning.fleet import Fleet, gpus_in_words
from opengrid.planning.inventory import Inventory, in_words


def plan_sentence(plan: Plan) -> str:
    """Return `2 machines, 2 nodes × 4 GPUs, 6 experiments, $154.20/h, simulated here`: the price of all experiments."""
    gang, gpus = plan.gang, plan.gang.nodes[0].gpus
    nodes = count(len(gang.nodes), "node")
    ranks = count(gang.ranks_per_node, "rank")
    parts = [count(gang.machines, "machine"), f"{nodes} × {count(gpus, 'GPU')}" if gpus else f"{nodes} × {ranks}"]
    parts.append(count(plan.experiments, "experiment"))
    if plan.price_per_hour:
        parts.append(f"{dollars(plan.price_per_hour * plan.experiments)}/h")
    if plan.simulated:
        parts.append("simulated here")
    elif plan.devices:
        parts.append(f"on your {plan.devices}")
    return ", ".join(parts)


def type_label(kind: InstanceType, price: float) -> str:
    """Return `4xV100 (16 GB) $12.85/h (p3.8xlarge)`, or `2 CPUs (8 GB) …` for a machine without GPUs."""
    what = f"{kind.gpus}x{kind.accelerator} ({kind.gpu_memory_gb} GB)"
    if not kind.gpus:
        what = f"{count(kind.cpus, 'CPU')} ({kind.memory_gb:g} GB)"
    return f"{what} {dollars(price)}/h" + (f" ({kind.cloud})" if kind.cloud else "")


def here_label(inventory: Inventory) -> str:
    """Return `This computer: 8 × NVIDIA H100, 64 CPUs, 512 GB`."""
    gpus = in_words(inventory.accelerators) or "no GPU"
    return f"This computer: {gpus}, {count(inventory.cpus, 'CPU')}, {inventory.memory_mib / 1024:.0f} GB"


def fleet_label(fleet: Fleet, kind: InstanceType) -> str:
    """Return `Machines of lab: 4 × H100, 64 CPUs each`: of several kinds the one with the most GPUs."""
    gpus = f"{gpus_in_words(kind.gpus, kind.accelerator)}, " if kind.gpus else ""
    return f"Machines of {fleet.cluster}: {gpus}{count(kind.cpus, 'CPU')} each"


def cluster_label(name: str, machines: int, gpus: int) -> str:
    """Return `lab: 2 machines, 8 GPUs`."""
    return f"{name}: {count(machines, 'machine')}, {count(gpus, 'GPU')}"


def count(number: int, noun: str) -> str:
    """Return `1 node`, `2 nodes`."""
    return f"{number:,} {noun}{'s' if number != 1 else ''}"


def dollars(amount: float) -> str:
    """Return an amount with cents, and with more places where cents would hide it."""
    return f"${amount:,.2f}" if amount >= 0.1 or amount == 0 else f"${amount:.3f}"
