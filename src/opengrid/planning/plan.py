"""From a request, and what there is, to the plan: what will run where, or why it cannot. Pure.

The steps are the ones below make_plan, in their order: machine, stand-in, layout, CPUs and ranks, checks, words.
"""

from __future__ import annotations

import dataclasses

from opengrid.core.errors import Unplannable
from opengrid.core.gang import Gang, Plan
from opengrid.core.spec import RunSpec
from opengrid.planning import layout, reasons
from opengrid.planning.capacity import MOST_RANKS, gigabytes, most_ranks
from opengrid.planning.catalogue import LOCAL, Catalogue, InstanceType
from opengrid.planning.checks import check_framework, check_interpreter, is_python, ranks_per_node, refuse_gpus
from opengrid.planning.environment import recipe_of
from opengrid.planning.inventory import Accelerator, Interpreter, Inventory, in_words, local_type, visible_accelerators
from opengrid.planning.shape import Shape

__all__ = ["Accelerator", "Interpreter", "Inventory", "make_plan"]

_CPUS_PER_GPU = 2


def make_plan(spec: RunSpec, *, catalogue: Catalogue, inventory: Inventory, interpreter: Interpreter | None) -> Plan:
    """Return what a request would start on these machines, the same for a dry run and the real one.

    `interpreter` is None for programs that are no Python. Raises Unplannable, UnknownInstanceType or InvalidValue, each
    with the nearest thing that can be planned.
    """
    shape = _shape(spec, catalogue, inventory)
    check_framework(spec, shape, catalogue)
    check_interpreter(spec, interpreter)
    gang = _gang(spec, shape, inventory)
    return Plan(
        gang=gang,
        instance_type=shape.kind.name,
        gpus=shape.gpus,
        experiments=1,
        simulated=shape.simulated,
        price_per_hour=gang.machines * shape.kind.on_demand,
        python=interpreter.path if interpreter is not None and is_python(spec) else None,
        source=spec.source.line,
        packages=_packages(spec),
        place=spec.source.place,
        reason=reasons.reason(spec, shape, gang, inventory),
        devices=in_words(shape.real[: shape.gpus]),
    )


def _shape(spec: RunSpec, catalogue: Catalogue, inventory: Inventory) -> Shape:
    """Decide the machine type, the number of GPUs, and what stands in for them."""
    asked = spec.gpus or 0
    if spec.instance_type.strip().lower() == LOCAL:
        seen = dataclasses.replace(inventory, accelerators=visible_accelerators(inventory, spec.shell))
        kind = local_type(seen, gpus_wanted=asked > 0)
    else:
        kind = catalogue.find(spec.instance_type)
    if kind.gpus == 0:
        if asked:
            refuse_gpus(asked, kind, catalogue)
        shape = Shape(kind=kind)
        _check_ranks(spec, shape, inventory)
        return shape
    gpus = asked or kind.gpus
    if inventory.accelerators and not spec.simulate:
        return Shape(kind=kind, gpus=gpus, real=_real(spec, gpus, kind, inventory))
    if not inventory.simulates:
        message = f"{inventory.hostname} cannot simulate the {gpus} GPUs of {kind.name}"
        raise Unplannable(message, hint="choose a cluster that has GPUs", field="gpus")
    shape = Shape(kind=kind, gpus=gpus, simulated=True)
    _check_ranks(spec, shape, inventory)
    return shape


def _real(spec: RunSpec, gpus: int, kind: InstanceType, inventory: Inventory) -> tuple[Accelerator, ...]:
    """Return the accelerators that may stand in for the GPUs of a type; Unplannable when they are too few."""
    visible = visible_accelerators(inventory, spec.shell)
    if len(visible) >= gpus:
        return visible
    what = f"--gpus {gpus}" if spec.gpus else f"{kind.name} (all its {gpus} GPUs)"
    fits = f"--gpus {len(visible)} fits; " if visible else ""
    rehearse = "--simulate rehearses it on CPU ranks"
    has = f"{inventory.hostname} has {in_words(inventory.accelerators)}"
    if len(visible) < len(inventory.accelerators):
        has += f", of which CUDA_VISIBLE_DEVICES={spec.shell['CUDA_VISIBLE_DEVICES']} leaves {len(visible)}"
    raise Unplannable(f"{what}: {has}", hint=fits + rehearse, field="gpus")


def _check_ranks(spec: RunSpec, shape: Shape, inventory: Inventory) -> None:
    """Refuse what this computer could never admit: it would wait for ever."""
    nodes, ranks = shape.nodes, ranks_per_node(spec, shape)
    total, most = max(nodes * ranks, shape.gpus), most_ranks(inventory.memory_mib)
    if total <= most:
        return
    if most == MOST_RANKS:
        limit = f"this computer takes at most {MOST_RANKS} CPU ranks"
    else:
        enough = f"the memory of {inventory.hostname} is enough for {most}"
        limit = f"they need {gigabytes(total)} beside 4 GiB for the rest; {enough}"
    what = f"{total} simulated ranks" if shape.simulated else f"{total} ranks"
    raise Unplannable(f"{what}: {limit}", hint=_fewer(spec, shape, most), field="gpus")


def _fewer(spec: RunSpec, shape: Shape, most: int) -> str:
    """Return what would fit into so many ranks."""
    each = spec.processes_per_node
    if each is None:
        return f"at most --gpus {most} here"
    if shape.nodes <= most and shape.gpus <= most:
        return f"at most --processes_per_node {most // shape.nodes} here"
    return f"at most --gpus {most} here, and fewer --processes_per_node"


def _packages(spec: RunSpec) -> str:
    recipe, needed = recipe_of(spec, spec.python), spec.dependencies
    parts = [recipe.title] if recipe is not None else []
    if needed is not None and needed.folders:
        parts.append(f"imported from {', '.join(_in_words(folder) for folder in needed.folders)}")
    file = f"{needed.file}: " if needed is not None and (needed.count or needed.folders) else ""
    return file + "; ".join(parts) if parts else ""


def _in_words(folder: str) -> str:
    return "the tree's root" if folder == "." else f"{folder}/"


def _gang(spec: RunSpec, shape: Shape, inventory: Inventory) -> Gang:
    ranks = ranks_per_node(spec, shape)
    cpus = _cpus_per_node(spec, shape, inventory)
    if not shape.gpus:
        return layout.plain_node(cpus=cpus, ranks=ranks)
    return layout.lay_out(shape.gpus, shape.kind.gpus, cpus=cpus, ranks=ranks)


def _cpus_per_node(spec: RunSpec, shape: Shape, inventory: Inventory) -> int:
    most, owner = _most_cpus(shape, inventory)
    if not spec.cpus:
        return min(_CPUS_PER_GPU * shape.gpus_per_node, most) if shape.gpus else most
    if spec.cpus > most:
        nodes = f" with {shape.nodes_per_machine} nodes on a machine" if shape.nodes_per_machine > 1 else ""
        raise Unplannable(
            f"--cpus {spec.cpus} per node does not fit {owner}{nodes}", hint=f"at most --cpus {most} here", field="cpus"
        )
    return spec.cpus


def _most_cpus(shape: Shape, inventory: Inventory) -> tuple[int, str]:
    """Return the largest number of CPUs that each node can have, at least 1, and whose limit that is."""
    of_type = max(1, shape.kind.cpus // shape.nodes_per_machine)
    of_host = max(1, inventory.cpus // shape.nodes)
    if shape.real and of_host < of_type:  # all machines are this computer, whose CPUs are real
        return of_host, f"the {inventory.cpus} CPUs of {inventory.hostname}"
    return of_type, f"the {shape.kind.cpus} CPUs of {shape.kind.name}"
