"""From a request, and what there is, to the plan: what will run where, or why it cannot. Pure.

The steps are the ones below make_plan, in their order: machine, stand-in, layout, CPUs and ranks, checks, words.
"""

from __future__ import annotations

import dataclasses

from opengrid.core.errors import InvalidValue, Unplannable
from opengrid.core.gang import Gang, Plan
from opengrid.core.spec import ProgramKind, RunSpec
from opengrid.planning import layout, reasons
from opengrid.planning.capacity import MOST_RANKS, gigabytes, most_ranks
from opengrid.planning.catalogue import LOCAL, Catalogue, InstanceType
from opengrid.planning.dependencies import check_python
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
    _check_framework(spec, shape, catalogue)
    _check_interpreter(spec, interpreter)
    gang = _gang(spec, shape, inventory)
    return Plan(
        gang=gang,
        instance_type=shape.kind.name,
        gpus=shape.gpus,
        experiments=1,
        simulated=shape.simulated,
        price_per_hour=gang.machines * shape.kind.on_demand,
        python=interpreter.path if interpreter is not None and _is_python(spec) else None,
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
            _refuse_gpus(asked, kind, catalogue)
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


def _refuse_gpus(asked: int, kind: InstanceType, catalogue: Catalogue) -> None:
    near = dict.fromkeys(other.name for other in catalogue.with_gpus(like=kind, at_least=asked))
    near = near or dict.fromkeys(other.name for other in catalogue.with_gpus(like=kind))
    offer = f"types with GPUs: {', '.join(list(near)[:3])}, or leave --gpus out" if near else "leave --gpus out"
    raise Unplannable(f"--gpus {asked} on {kind.name}: this type has no GPU", hint=offer, field="gpus")


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
    nodes, ranks = shape.nodes, _ranks_per_node(spec, shape)
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


def _check_framework(spec: RunSpec, shape: Shape, catalogue: Catalogue) -> None:
    if spec.framework.is_torch or shape.nodes <= 1:
        return
    bigger = [k.name for k in catalogue.with_gpus(like=shape.kind, at_least=shape.gpus) if k.name != shape.kind.name]
    other = f", or {bigger[0]}, which holds {shape.gpus}" if bigger else ""
    raise Unplannable(
        f"--framework {spec.framework.value} runs on one node, and --gpus {shape.gpus} on {shape.kind.name} "
        f"are {shape.nodes} nodes",
        hint=f"at most --gpus {shape.kind.gpus} on this type{other}",
        field="framework",
    )


def _check_interpreter(spec: RunSpec, interpreter: Interpreter | None) -> None:
    if not _is_python(spec):
        return
    if interpreter is None:
        raise InvalidValue("a Python program needs an interpreter", hint="name one with --python", field="python")
    if spec.dependencies is not None:
        check_python(spec.dependencies, interpreter.version, interpreter.path)
    if spec.framework.is_torch and interpreter.torch is None:
        raise Unplannable(
            f"{interpreter.path} (Python {interpreter.version}) has no torch, which --framework "
            f"{spec.framework.value} needs",
            hint=f"{interpreter.path} -m pip install torch      or choose another with --python",
            field="python",
        )


def _packages(spec: RunSpec) -> str:
    recipe = recipe_of(spec, spec.python)
    if recipe is None:
        return ""
    file = f"{spec.dependencies.file}: " if spec.dependencies is not None and recipe.requirements else ""
    return file + recipe.title


def _gang(spec: RunSpec, shape: Shape, inventory: Inventory) -> Gang:
    ranks = _ranks_per_node(spec, shape)
    cpus = _cpus_per_node(spec, shape, inventory)
    if not shape.gpus:
        return layout.plain_node(cpus=cpus, ranks=ranks)
    return layout.lay_out(shape.gpus, shape.kind.gpus, cpus=cpus, ranks=ranks)


def _ranks_per_node(spec: RunSpec, shape: Shape) -> int:
    if spec.processes_per_node is not None:
        return spec.processes_per_node
    # Everything else starts its own processes.
    return max(1, shape.gpus_per_node) if spec.framework.is_torch and _is_python(spec) else 1


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


def _is_python(spec: RunSpec) -> bool:
    return spec.program.kind is not ProgramKind.EXECUTABLE
