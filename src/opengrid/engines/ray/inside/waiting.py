"""Why a gang waits for machines, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opengrid.engines.ray.inside.marks import SPOT
from opengrid.engines.ray.inside.scaling import Scaling

#: An autoscaler that has not begun anything for so long will not: it looks every few seconds.
IDLE_S = 60.0

_MODEL = "accelerator_type:"
_SIZE = ("CPU", "GPU")


@dataclass(frozen=True)
class NodeView:
    """A living node, with all that it has, free or not."""

    address: str
    resources: Mapping[str, float]


def why_waiting(
    bundles: Sequence[Mapping[str, float]], nodes: Sequence[NodeView], scaling: Scaling, idle_s: float = 0.0
) -> str:
    """Return what a gang that Ray has not placed waits for: until others end, or until there are more machines.

    `idle_s` is for how long it has waited without the cluster starting anything.
    """
    largest = max(bundles, key=lambda bundle: (bundle.get("GPU", 0), bundle.get("CPU", 0)))
    able = sum(all(node.resources.get(name, 0) >= amount for name, amount in largest.items()) for node in nodes)
    wanted, what = len(bundles), in_words(largest)
    spot = "spot " if SPOT in largest else ""
    machines = f"{wanted} {spot}machines with {what} each" if wanted > 1 else f"a {spot}machine with {what}"
    starts = f"the cluster {scaling.in_words()}" if scaling.in_words() else ""
    if able >= wanted:
        return f"waits for {machines}: {_are(able)} so large, and not all of that is free"
    if not starts and idle_s > IDLE_S:
        needs = ", ".join(f"{name}: {max(1, amount):g}" for name, amount in largest.items())
        starts = f"none is being started, and one that joins, or a node type to start, needs the resources {needs}"
    if able:
        return f"waits for {machines}: {_are(able)} so large; {starts or 'more must join'}"
    large = [node for node in nodes if all(node.resources.get(name, 0) >= largest.get(name, 0) for name in _SIZE)]
    if large:
        lacks = _lacks(largest, large)
        return f"waits for {machines}: {_are(len(large))} so large, and {lacks}; {starts or 'others must join'}"
    most = max((node.resources.get("GPU", 0) for node in nodes), default=0)
    has = (
        f"its largest has {most:g} GPU{'s' if most != 1 else ''}" if largest.get("GPU") and most else "it has none now"
    )
    return f"waits for {machines}: {has}; {starts or 'some must join'}"


def model_nobody_has(
    bundles: Sequence[Mapping[str, float]], nodes: Sequence[NodeView], scaling: Scaling, idle_s: float
) -> str:
    """Return the model of GPUs for which a gang waits in vain, "" when there is none such.

    A machine that is there, or is being started, may name it; a node type that does not is never started for it.
    """
    names = {name for bundle in bundles for name in bundle if name.startswith(_MODEL)}
    if idle_s <= IDLE_S or scaling.in_words() or any(name in node.resources for name in names for node in nodes):
        return ""
    return ", ".join(sorted(name.removeprefix(_MODEL) for name in names))


def of_any_model(bundles: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """Return bundles that GPUs of any model will do for."""
    return [{name: amount for name, amount in bundle.items() if not name.startswith(_MODEL)} for bundle in bundles]


def in_words(bundle: Mapping[str, float]) -> str:
    """Return `4 GPUs (V100) and 8 CPUs`."""
    gpus, cpus = bundle.get("GPU", 0), bundle.get("CPU", 0)
    model = next((name.removeprefix(_MODEL) for name in bundle if name.startswith(_MODEL)), "")
    parts = [_count(gpus, "GPU") + (f" ({model})" if model else "")] if gpus else []
    return " and ".join([*parts, _count(cpus, "CPU")])


def _lacks(bundle: Mapping[str, float], nodes: Sequence[NodeView]) -> str:
    """Return why none of these nodes will do, though they are large enough."""
    missing = next((name for name in bundle if not any(node.resources.get(name, 0) for node in nodes)), "")
    if missing.startswith(_MODEL):
        return f"none names {missing.removeprefix(_MODEL)} GPUs"
    if missing == SPOT:
        return "none is a spot machine"
    return f"none has the resource {missing}" if missing else "none has all that is asked for"


def _are(number: int) -> str:
    return f"{number} {'is' if number == 1 else 'are'}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'s' if number != 1 else ''}"
