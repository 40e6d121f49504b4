"""planning.layout: from GPUs to machines and equal nodes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import InvalidValue
from opengrid.planning.layout import gpus_per_node, lay_out, machines_for, nearest_bigger_nodes, nodes_per_machine


@pytest.mark.parametrize(
    ("gpus", "per_machine", "nodes_by_machine", "size"),
    [
        (1, 1, [1], 1),
        (1, 4, [1], 1),
        (4, 4, [1], 4),
        (8, 4, [1, 1], 4),
        (16, 4, [1] * 4, 4),
        (32, 4, [1] * 8, 4),
        (4, 1, [1, 1, 1, 1], 1),
        (5, 4, [4, 1], 1),
        (6, 4, [1, 1], 3),
        (3, 4, [1], 3),
        (7, 4, [4, 3], 1),
        (9, 4, [1, 1, 1], 3),
        (10, 4, [2, 2, 1], 2),
        (15, 8, [8, 7], 1),
        (12, 8, [1, 1], 6),
        (63, 16, [16, 16, 16, 15], 1),
    ],
)
def test_gpus_become_equal_nodes(gpus: int, per_machine: int, nodes_by_machine: list[int], size: int) -> None:
    gang = lay_out(gpus, per_machine, cpus=2, ranks=1)
    assert [len(gang.nodes_of(machine)) for machine in range(gang.machines)] == nodes_by_machine
    assert {node.gpus for node in gang.nodes} == {size}


def test_every_gpu_is_placed_once_and_nodes_are_as_large_as_they_can_be() -> None:
    for per_machine in range(1, 17):
        for gpus in range(1, 65):
            gang = lay_out(gpus, per_machine, cpus=1, ranks=1)
            sizes = {node.gpus for node in gang.nodes}
            assert len(sizes) == 1
            assert gang.machines == machines_for(gpus, per_machine) == (gpus + per_machine - 1) // per_machine
            assert sum(node.gpus for node in gang.nodes) == gpus
            assert all(gang.gpus_of(machine) <= per_machine for machine in range(gang.machines))
            assert sizes == {_largest_by_trying(gpus, per_machine)}


def _largest_by_trying(gpus: int, per_machine: int) -> int:
    """Fill machines with nodes one at a time, for every size there is."""
    least = -(-gpus // per_machine)
    fitting: list[int] = []
    for size in range(1, per_machine + 1):
        if gpus % size:
            continue
        machines, room = 0, 0
        for _ in range(gpus // size):
            if room < size:
                machines, room = machines + 1, per_machine
            room -= size
        if machines == least:
            fitting.append(size)
    return max(fitting)


@given(st.integers(1, 600), st.integers(1, 16))
def test_machines_are_filled_in_order(gpus: int, per_machine: int) -> None:
    gang = lay_out(gpus, per_machine, cpus=1, ranks=1)
    counts = [len(gang.nodes_of(machine)) for machine in range(gang.machines)]
    assert set(counts[:-1]) <= {nodes_per_machine(gpus, per_machine)}
    assert counts[-1] <= counts[0]


@pytest.mark.parametrize(
    ("gpus", "per_machine", "better"),
    [(15, 8, 16), (5, 4, 6), (7, 4, 8), (8, 4, None), (13, 8, 14), (6, 4, 8), (4, 1, None)],
)
def test_the_nearest_number_with_bigger_nodes_is_known(gpus: int, per_machine: int, better: int | None) -> None:
    assert nearest_bigger_nodes(gpus, per_machine) == better


@given(st.integers(1, 200), st.integers(1, 16))
def test_bigger_nodes_lie_on_as_many_machines(gpus: int, per_machine: int) -> None:
    better = nearest_bigger_nodes(gpus, per_machine)
    if better is not None:
        assert machines_for(better, per_machine) == machines_for(gpus, per_machine)
        assert gpus_per_node(better, per_machine) > gpus_per_node(gpus, per_machine)


@pytest.mark.parametrize(("gpus", "per_machine"), [(0, 4), (-1, 4), (4, 0)])
def test_nothing_is_laid_out_on_nothing(gpus: int, per_machine: int) -> None:
    with pytest.raises(InvalidValue):
        gpus_per_node(gpus, per_machine)
