"""The words of a plan: what stands in for the machines, why this layout, and what the user should know."""

from __future__ import annotations

from opengrid.core.gang import Gang
from opengrid.core.spec import RunSpec
from opengrid.planning import layout
from opengrid.planning.catalogue import LOCAL
from opengrid.planning.inventory import Inventory, in_words
from opengrid.planning.markets import NO_MARKET
from opengrid.planning.shape import Shape

#: A driver counts a little less than the name on the box promises: a 16 GB T4 has 15,360 MiB.
_NEARLY = 0.9


def reason(spec: RunSpec, shape: Shape, gang: Gang, inventory: Inventory) -> str:
    """Return the plan's reason, in sentences; "" when nothing is remarkable."""
    parts = (
        _stand_in(spec, shape, inventory),
        _less_memory(shape),
        _layout(shape),
        _fewer_cpus(spec, shape, gang),
        _once_per_node(shape),
        f"spot has no effect: {NO_MARKET}" if spec.use_spot else "",
    )
    return ". ".join(part for part in parts if part)


def layout_reason(shape: Shape) -> str:
    """Return what is remarkable about a layout, on whatever machines."""
    return ". ".join(part for part in (_layout(shape), _once_per_node(shape)) if part)


def _stand_in(spec: RunSpec, shape: Shape, inventory: Inventory) -> str:
    if shape.real:
        if shape.kind.name == LOCAL:
            return ""
        return f"your {in_words(shape.real[: shape.gpus])} as {in_nodes(shape.gpus, shape.kind.gpus)}"
    if shape.simulated:
        why = "as asked with --simulate" if spec.simulate else f"{inventory.hostname} has no GPU"
        what = "the GPU is" if shape.gpus == 1 else f"the {shape.gpus} GPUs are"
        return f"simulated ({why}): {what} stood in for by CPU ranks under gloo"
    return "" if shape.kind.name == LOCAL else f"{inventory.hostname} stands in for {shape.kind.name}"


def _less_memory(shape: Shape) -> str:
    used = shape.real[: shape.gpus]
    if shape.kind.name == LOCAL or not used:
        return ""
    least = min(used, key=lambda accelerator: accelerator.memory_mib)
    if least.memory_mib >= shape.kind.gpu_memory_gb * 1024 * _NEARLY:
        return ""
    return (
        f"they have {least.memory_mib / 1024:.0f} GB of memory each, "
        f"the {shape.kind.accelerator} of {shape.kind.name} has {shape.kind.gpu_memory_gb}"
    )


def _layout(shape: Shape) -> str:
    """Say which GPUs idle, and which number of them would make bigger nodes of the same machines."""
    if not shape.gpus or not shape.idle_gpus:
        return ""
    said: list[str] = []
    better = layout.nearest_bigger_nodes(shape.gpus, shape.kind.gpus) if shape.nodes > 1 else None
    if better is not None and (not shape.real or better <= len(shape.real)):
        here, there = in_nodes(shape.gpus, shape.kind.gpus), in_nodes(better, shape.kind.gpus)
        on = f"the same {shape.machines} machines" if shape.machines > 1 else "the same machine"
        said.append(("" if shape.real else f"{here}; ") + f"{better} GPUs would be {there} on {on}")
    if shape.kind.on_demand and not shape.real:
        verb = "is" if shape.idle_gpus == 1 else "are"
        said.append(f"{shape.idle_gpus} of {shape.machines * shape.kind.gpus} GPUs {verb} paid for and idle")
    return ". ".join(said)


def in_nodes(gpus: int, per_machine: int) -> str:
    """Return `2 nodes × 8 GPUs`."""
    size = layout.gpus_per_node(gpus, per_machine)
    nodes = gpus // size
    return f"{nodes} node{'s' if nodes > 1 else ''} × {size} GPU{'s' if size > 1 else ''}"


def _fewer_cpus(spec: RunSpec, shape: Shape, gang: Gang) -> str:
    node = gang.nodes[0]
    if spec.cpus or not shape.gpus or node.cpus >= 2 * node.gpus:
        return ""
    return f"{node.cpus} CPU{'s' if node.cpus > 1 else ''} per node instead of {2 * node.gpus}: the machine has no more"


def _once_per_node(shape: Shape) -> str:
    if shape.nodes_per_machine < 2:
        return ""
    return f"code that runs once per node (local rank 0) runs {shape.nodes_per_machine} times on a machine"
