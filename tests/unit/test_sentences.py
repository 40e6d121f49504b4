"""planning.sentences: plans and machine types in one line."""

from __future__ import annotations

import dataclasses

import pytest
from tests.support.records import make_gang, make_plan

from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.inventory import Accelerator, Inventory
from opengrid.planning.sentences import here_label, plan_sentence, type_label


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"price_per_hour": 25.7}, "2 machines, 2 nodes × 4 GPUs, 6 experiments, $154.20/h, simulated here"),
        ({"simulated": False, "price_per_hour": 0.0}, "2 machines, 2 nodes × 4 GPUs, 6 experiments"),
        (
            {"simulated": False, "price_per_hour": 0.0, "devices": "8 × NVIDIA H100"},
            "2 machines, 2 nodes × 4 GPUs, 6 experiments, on your 8 × NVIDIA H100",
        ),
    ],
)
def test_a_plan_is_said_in_one_line(changes: dict[str, object], sentence: str) -> None:
    assert plan_sentence(dataclasses.replace(make_plan(experiments=6), **changes)) == sentence


def test_one_of_a_kind_is_singular_and_cpu_nodes_tell_their_ranks() -> None:
    gang = make_gang(1, 1)
    nodes = tuple(dataclasses.replace(node, gpus=0) for node in gang.nodes)
    plan = dataclasses.replace(
        make_plan(dataclasses.replace(gang, nodes=nodes)), gpus=0, simulated=False, price_per_hour=0.0464
    )
    assert plan_sentence(plan) == "1 machine, 1 node × 1 rank, 1 experiment, $0.046/h"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("p3.8xlarge", "4xV100 (16 GB) $12.85/h (p3.8xlarge)"),
        ("1_v100_16gb", "1xV100 (16 GB) $3.98/h (p3.2xlarge)"),
        ("t2.medium", "2 CPUs (4 GB) $0.046/h (t2.medium)"),
        ("4_v100_32gb", "4xV100 (32 GB) "),
    ],
)
def test_types_are_called_as_people_remember_them(name: str, label: str) -> None:
    kind = load_catalogue().find(name)
    assert type_label(kind, kind.on_demand).startswith(label)


def test_this_computer_is_called_by_what_it_has() -> None:
    here = Inventory(hostname="box", cpus=2, memory_mib=24 * 1024, available_mib=1)
    assert here_label(here) == "This computer: no GPU, 2 CPUs, 24 GB"
    gpus = tuple(Accelerator(uuid=f"GPU-{i}", name="NVIDIA H100", memory_mib=81_559) for i in range(8))
    assert here_label(dataclasses.replace(here, accelerators=gpus)).startswith("This computer: 8 × NVIDIA H100, 2 CPUs")
