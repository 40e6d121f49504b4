"""What is refused, and counted alike, on this computer and on clusters. Pure."""

from __future__ import annotations

from opengrid.core.errors import InvalidValue, Unplannable
from opengrid.core.spec import ProgramKind, RunSpec
from opengrid.planning.catalogue import Catalogue, InstanceType
from opengrid.planning.dependencies import check_python
from opengrid.planning.inventory import Interpreter
from opengrid.planning.shape import Shape


def refuse_gpus(asked: int, kind: InstanceType, catalogue: Catalogue) -> None:
    """Say that a type has no GPU, and which have."""
    near = dict.fromkeys(other.name for other in catalogue.with_gpus(like=kind, at_least=asked))
    near = near or dict.fromkeys(other.name for other in catalogue.with_gpus(like=kind))
    offer = f"types with GPUs: {', '.join(list(near)[:3])}, or leave --gpus out" if near else "leave --gpus out"
    raise Unplannable(f"--gpus {asked} on {kind.name}: this type has no GPU", hint=offer, field="gpus")


def check_framework(spec: RunSpec, shape: Shape, catalogue: Catalogue) -> None:
    """Refuse several nodes for what runs on one only."""
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


def check_interpreter(spec: RunSpec, interpreter: Interpreter | None) -> None:
    """Refuse a Python program without an interpreter that has what its framework needs."""
    if not is_python(spec):
        return
    if interpreter is None:
        raise InvalidValue("a Python program needs an interpreter", hint="name one with --python", field="python")
    if spec.dependencies is not None and interpreter.version:
        check_python(spec.dependencies, interpreter.version, interpreter.path)
    if spec.framework.is_torch and interpreter.torch is None:
        raise Unplannable(
            f"{interpreter.path} (Python {interpreter.version}) has no torch, which --framework "
            f"{spec.framework.value} needs",
            hint=f"{interpreter.path} -m pip install torch      or choose another with --python",
            field="python",
        )


def ranks_per_node(spec: RunSpec, shape: Shape) -> int:
    """Return how many ranks each node starts."""
    if spec.processes_per_node is not None:
        return spec.processes_per_node
    # Everything else starts its own processes.
    return max(1, shape.gpus_per_node) if spec.framework.is_torch and is_python(spec) else 1


def is_python(spec: RunSpec) -> bool:
    """Return whether the program is run by an interpreter of ours."""
    return spec.program.kind is not ProgramKind.EXECUTABLE
