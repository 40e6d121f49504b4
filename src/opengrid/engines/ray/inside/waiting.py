"""Why a gang waits for machines, in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opengrid.engines.ray.inside.marks import SPOT
from opengrid.engines.ray.inside.scaling import Scaling


@dataclass(frozen=True)
class NodeView:
    """A living node, with all that it has, free or not."""

    address: str
    resources: Mapping[str, float]


def why_waiting(bundles: Sequence[Mapping[str, float]], nodes: Sequence[NodeView], scaling: Scaling) -> str:
    """Return what a gang that Ray has not placed waits for: until others end, or until there are more machines."""
    largest = max(bundles, key=lambda bundle: (bundle.get("GPU", 0), bundle.get("CPU", 0)))
    able = sum(all(node.resources.get(name, 0) >= amount for name, amount in largest.items()) for node in nodes)
    wanted, what = len(bundles), in_words(largest)
    spot = "spot " if SPOT in largest else ""
    machines = f"{wanted} {spot}machines with {what} each" if wanted > 1 else f"a {spot}machine with {what}"
    starts = f"the cluster {scaling.in_words()}" if scaling.in_words() else ""
    if able >= wanted:
        return f"waits for {machines}: {_are(able)} so large, and not all of that is free"
    if able:
        return f"waits for {machines}: {_are(able)} so large; {starts or 'the cluster must start more'}"
    most = max((node.resources.get("GPU", 0) for node in nodes), default=0)
    has = (
        f"its largest has {most:g} GPU{'s' if most != 1 else ''}" if largest.get("GPU") and most else "it has none now"
    )
    return f"waits for {machines}: {has}; {starts or 'the cluster must start some'}"


def in_words(bundle: Mapping[str, float]) -> str:
    """Return `4 GPUs (V100) and 8 CPUs`."""
    gpus, cpus = bundle.get("GPU", 0), bundle.get("CPU", 0)
    model = next((name.partition(":")[2] for name in bundle if name.startswith("accelerator_type:")), "")
    parts = [_count(gpus, "GPU") + (f" ({model})" if model else "")] if gpus else []
    return " and ".join([*parts, _count(cpus, "CPU")])


def _are(number: int) -> str:
    return f"{number} {'is' if number == 1 else 'are'}"


def _count(number: float, noun: str) -> str:
    return f"{number:g} {noun}{'s' if number != 1 else ''}"
