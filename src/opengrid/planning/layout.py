"""From a number of GPUs to machines and equal nodes. Arithmetic only."""

from __future__ import annotations

from opengrid.core.errors import InvalidValue
from opengrid.core.gang import Gang, Node


def machines_for(gpus: int, per_machine: int) -> int:
    """Return how many machines hold that many GPUs."""
    return -(-gpus // per_machine)


def gpus_per_node(gpus: int, per_machine: int) -> int:
    """Return the size of the equal nodes: the largest divisor of `gpus` that needs no further machine.

    A node never spans machines, so a machine holds `per_machine // size` of them. 1 always does.
    """
    if gpus < 1 or per_machine < 1:
        raise InvalidValue(f"{gpus} GPUs on machines of {per_machine}: both must be at least 1")
    machines = machines_for(gpus, per_machine)
    for size in range(min(gpus, per_machine), 1, -1):
        if gpus % size == 0 and machines_for(gpus // size, per_machine // size) == machines:
            return size
    return 1


def nodes_per_machine(gpus: int, per_machine: int) -> int:
    """Return how many nodes lie on the fullest machine, which is the first."""
    size = gpus_per_node(gpus, per_machine)
    return min(gpus // size, per_machine // size)


def lay_out(gpus: int, per_machine: int, *, cpus: int, ranks: int) -> Gang:
    """Return the gang for that many GPUs: machines are filled in order, the last one holds the rest.

    `cpus` and `ranks` are those of each node.
    """
    size, full = gpus_per_node(gpus, per_machine), nodes_per_machine(gpus, per_machine)
    return Gang(
        nodes=tuple(
            Node(index=index, machine=index // full, gpus=size, cpus=cpus, ranks=ranks) for index in range(gpus // size)
        )
    )


def plain_node(*, cpus: int, ranks: int) -> Gang:
    """Return the gang of one node without GPUs."""
    return Gang(nodes=(Node(index=0, machine=0, gpus=0, cpus=cpus, ranks=ranks),))


def nearest_bigger_nodes(gpus: int, per_machine: int) -> int | None:
    """Return the number of GPUs nearest to `gpus` that lies on as many machines in bigger nodes; None when none does.

    Of two equally near ones the larger: the idle GPUs are paid for.
    """
    machines, size = machines_for(gpus, per_machine), gpus_per_node(gpus, per_machine)
    others = range((machines - 1) * per_machine + 1, machines * per_machine + 1)
    better = [other for other in others if gpus_per_node(other, per_machine) > size]
    return min(better, key=lambda other: (abs(other - gpus), -other), default=None)
