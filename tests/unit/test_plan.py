"""planning.plan: a request and what there is → the plan, or why there is none."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opengrid.core.errors import GridError, InvalidValue, UnknownInstanceType, Unplannable
from opengrid.core.gang import Plan
from opengrid.core.spec import Framework, Program, ProgramKind, RunSpec, Source
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.plan import Accelerator, Interpreter, Inventory, make_plan

CATALOGUE = load_catalogue()
PYTHON = Interpreter(path="/venv/bin/python", version="3.11.9", torch="2.13.0", lightning="2.6.6")
LAPTOP = Inventory(hostname="laptop", cpus=2, memory_mib=24 * 1024, available_mib=20 * 1024)


def gpu_box(count: int, name: str = "NVIDIA H100 80GB HBM3", memory_mib: int = 81559, **changes: Any) -> Inventory:
    accelerators = tuple(Accelerator(uuid=f"GPU-{i:04x}", name=name, memory_mib=memory_mib) for i in range(count))
    values = {"cpus": 64, "memory_mib": 512 * 1024, "available_mib": 500 * 1024, **changes}
    return Inventory(hostname="box", accelerators=accelerators, **values)


def spec(kind: ProgramKind = ProgramKind.SCRIPT, target: str = "train.py", **changes: Any) -> RunSpec:
    source = Source(bundle=None, root="/home/me/project", files=3)
    return RunSpec(program=Program(kind=kind, target=target), source=source, **changes)


def plan(inventory: Inventory = LAPTOP, interpreter: Interpreter | None = PYTHON, **request: Any) -> Plan:
    return make_plan(spec(**request), catalogue=CATALOGUE, inventory=inventory, interpreter=interpreter)


def refusal(error: type[GridError] = Unplannable, **request: Any) -> GridError:
    with pytest.raises(error) as caught:
        plan(**request)
    assert caught.value.hint
    return caught.value


def layout(found: Plan) -> tuple[int, int, int, int, int]:
    node = found.gang.nodes[0]
    return found.machines, len(found.gang.nodes), node.gpus, node.cpus, found.gang.world_size


@pytest.mark.parametrize(
    ("request_", "machines_nodes_gpus_cpus_world"),
    [
        ({"instance_type": "4_v100_16gb", "gpus": 4}, (1, 1, 4, 8, 4)),
        ({"instance_type": "4_v100_16gb", "gpus": 8}, (2, 2, 4, 8, 8)),
        ({"instance_type": "4_v100_16gb", "gpus": 16}, (4, 4, 4, 8, 16)),
        ({"instance_type": "4_v100_16gb", "gpus": 32}, (8, 8, 4, 8, 32)),
        ({"instance_type": "4_v100_32gb", "gpus": 5}, (2, 5, 1, 2, 5)),
        ({"instance_type": "1_t4_16gb", "gpus": 4}, (4, 4, 1, 2, 4)),
        ({"instance_type": "8_v100_16gb", "gpus": 15}, (2, 15, 1, 2, 15)),
        ({"instance_type": "p3.8xlarge"}, (1, 1, 4, 8, 4)),
        ({"instance_type": "p3.8xlarge", "gpus": 0}, (1, 1, 4, 8, 4)),
        ({"instance_type": "2_cpu_4gb"}, (1, 1, 0, 2, 1)),
        ({"instance_type": "16_cpu_64gb"}, (1, 1, 0, 16, 1)),
        ({"instance_type": "16_cpu_64gb", "cpus": 3, "processes_per_node": 2}, (1, 1, 0, 3, 2)),
        ({}, (1, 1, 0, 2, 1)),
        ({"gpus": 8}, (2, 2, 4, 2, 8)),
        ({"gpus": 2}, (1, 1, 2, 2, 2)),
        ({"instance_type": "4_v100_16gb", "gpus": 8, "cpus": 32}, (2, 2, 4, 32, 8)),
        ({"instance_type": "4_v100_16gb", "gpus": 8, "processes_per_node": 1}, (2, 2, 4, 8, 2)),
        ({"instance_type": "4_v100_16gb", "gpus": 8, "framework": Framework.TORCH}, (2, 2, 4, 8, 8)),
        ({"instance_type": "4_v100_16gb", "kind": ProgramKind.MODULE, "target": "pkg.mod"}, (1, 1, 4, 8, 4)),
        ({"instance_type": "4_v100_16gb", "gpus": 8, "kind": ProgramKind.EXECUTABLE, "target": "./train.sh"},
         (2, 2, 4, 8, 2)),
        ({"instance_type": "4_v100_16gb", "framework": Framework.TENSORFLOW}, (1, 1, 4, 8, 1)),
    ],
)  # fmt: skip
def test_a_request_becomes_machines_nodes_and_ranks(
    request_: dict[str, Any], machines_nodes_gpus_cpus_world: tuple[int, ...]
) -> None:
    assert layout(plan(**request_)) == machines_nodes_gpus_cpus_world


def test_a_computer_without_gpus_simulates_and_says_so() -> None:
    found = plan(instance_type="4_v100_16gb", gpus=8)
    assert found.simulated
    assert found.devices == ""
    assert found.reason == "simulated (laptop has no GPU): the 8 GPUs are stood in for by CPU ranks under gloo"
    assert found.price_per_hour == pytest.approx(2 * 12.85)
    assert found.python == "/venv/bin/python"
    assert "/home/me/project" in found.source


def test_a_plain_node_of_this_computer_is_nothing_remarkable_and_costs_nothing() -> None:
    found = plan()
    assert (found.instance_type, found.simulated, found.reason, found.price_per_hour) == ("local", False, "", 0.0)


def test_both_spellings_plan_the_same() -> None:
    assert plan(instance_type="p3.8xlarge", gpus=8) == plan(instance_type="4_V100_16GB", gpus=8)


def test_real_gpus_stand_in_for_the_type_in_the_same_topology() -> None:
    found = plan(gpu_box(8), instance_type="4_v100_16gb", gpus=8)
    assert layout(found) == (2, 2, 4, 8, 8)
    assert not found.simulated
    assert found.devices == "8 × NVIDIA H100 80GB HBM3"
    assert found.reason == "your 8 × NVIDIA H100 80GB HBM3 as 2 nodes × 4 GPUs"


def test_the_layout_of_real_gpus_is_said_once() -> None:
    reason = plan(gpu_box(8), instance_type="4_v100_32gb", gpus=7).reason
    assert reason.startswith("your 7 × NVIDIA H100 80GB HBM3 as 7 nodes × 1 GPU. 8 GPUs would be 2 nodes × 4 GPUs")


def test_a_gpu_box_never_trains_on_its_cpus_unasked() -> None:
    error = refusal(inventory=gpu_box(2), instance_type="4_v100_16gb", gpus=8)
    assert error.message == "--gpus 8: box has 2 × NVIDIA H100 80GB HBM3"
    assert error.hint == "--gpus 2 fits; --simulate rehearses it on CPU ranks"
    asked = plan(gpu_box(2), instance_type="4_v100_16gb", gpus=8, simulate=True)
    assert asked.simulated
    assert "--simulate" in asked.reason


def test_busy_gpus_count_since_they_may_become_free() -> None:
    busy = Accelerator(uuid="GPU-b", name="T4", memory_mib=15360, busy="in use by process 7")
    box = Inventory(hostname="box", cpus=8, memory_mib=64_000, available_mib=60_000, accelerators=(busy,))
    assert plan(box, instance_type="1_t4_16gb").devices == "1 × T4"


def test_smaller_gpus_than_the_types_are_mentioned() -> None:
    found = plan(gpu_box(4, "Tesla T4", 15360), instance_type="4_v100_32gb")
    assert "they have 15 GB of memory each, the V100 of 4_v100_32gb has 32" in found.reason
    assert "memory" not in plan(gpu_box(4, "Tesla T4", 15360), instance_type="4_v100_16gb").reason


def test_local_is_this_computers_own_gpus() -> None:
    found = plan(gpu_box(4))
    assert layout(found) == (1, 1, 4, 8, 4)
    assert (found.instance_type, found.price_per_hour, found.reason) == ("local", 0.0, "")
    assert layout(plan(gpu_box(4), gpus=2)) == (1, 1, 2, 4, 2)
    assert "box has 4 ×" in refusal(inventory=gpu_box(4), gpus=5).message


@pytest.mark.parametrize(("visible", "count"), [("0,1", 2), ("GPU-0003", 1), ("3,9,1", 1), ("0, 0", 1)])
def test_only_gpus_that_the_shell_shows_are_used(visible: str, count: int) -> None:
    shell = {"CUDA_VISIBLE_DEVICES": visible}
    assert plan(gpu_box(4), shell=shell).gpus == count
    error = refusal(inventory=gpu_box(4), shell=shell, instance_type="4_v100_16gb")
    assert f"CUDA_VISIBLE_DEVICES={visible} leaves {count}" in error.message


def test_a_shell_that_hides_all_gpus_gets_a_cpu_node_or_a_refusal() -> None:
    hidden = {"CUDA_VISIBLE_DEVICES": ""}
    assert layout(plan(gpu_box(4), shell=hidden)) == (1, 1, 0, 64, 1)
    assert "leaves 0" in refusal(inventory=gpu_box(4), shell=hidden, gpus=2).message


def test_real_cpus_limit_a_reservation_on_real_machines() -> None:
    small = gpu_box(8, cpus=8)
    found = plan(small, instance_type="4_v100_16gb", gpus=8)
    assert found.gang.nodes[0].cpus == 4
    assert "4 CPUs per node instead of 8" in found.reason
    assert refusal(inventory=small, instance_type="4_v100_16gb", gpus=8, cpus=5).hint == "at most --cpus 4 here"


def test_cpus_of_a_simulated_machine_are_the_types_not_the_laptops() -> None:
    assert plan(instance_type="4_v100_16gb", cpus=32).gang.nodes[0].cpus == 32
    error = refusal(instance_type="4_v100_16gb", cpus=33)
    assert error.message == "--cpus 33 per node does not fit the 32 CPUs of 4_v100_16gb"
    assert error.hint == "at most --cpus 32 here"


def test_nodes_of_one_machine_share_its_cpus() -> None:
    error = refusal(instance_type="4_v100_32gb", gpus=5, cpus=13)
    assert "with 4 nodes on a machine" in error.message
    assert error.hint == "at most --cpus 12 here"


def test_idle_gpus_and_the_nearest_bigger_nodes_are_named() -> None:
    reason = plan(instance_type="8_v100_16gb", gpus=15).reason
    assert "15 nodes × 1 GPU; 16 GPUs would be 2 nodes × 8 GPUs on the same 2 machines" in reason
    assert "1 of 16 GPUs is paid for and idle" in reason
    assert "runs 8 times on a machine" in reason
    assert "2 of 4 GPUs are paid for and idle" in plan(instance_type="4_v100_16gb", gpus=2).reason
    assert "paid" not in plan(gpu_box(8), instance_type="4_v100_16gb", gpus=2).reason


def test_one_node_per_machine_needs_no_word_about_local_rank_0() -> None:
    assert "local rank 0" not in plan(instance_type="1_t4_16gb", gpus=4).reason


def test_gpus_on_a_cpu_type_are_refused_with_types_that_have_some() -> None:
    error = refusal(instance_type="2_cpu_4gb", gpus=2)
    assert error.message == "--gpus 2 on 2_cpu_4gb: this type has no GPU"
    assert CATALOGUE.find(re.findall(r"\d+_\w+_\d+gb", error.hint or "")[0]).gpus >= 2


def test_a_framework_for_one_node_is_refused_for_more_before_anything_starts() -> None:
    error = refusal(instance_type="4_v100_16gb", gpus=8, framework=Framework.TENSORFLOW)
    assert error.message == "--framework tensorflow runs on one node, and --gpus 8 on 4_v100_16gb are 2 nodes"
    assert error.hint == "at most --gpus 4 on this type, or 8_v100_16gb, which holds 8"
    assert layout(plan(instance_type="8_v100_16gb", gpus=8, framework=Framework.JULIA))[:2] == (1, 1)


def test_an_interpreter_without_torch_is_refused_with_the_pip_line() -> None:
    bare = Interpreter(path="/usr/bin/python3", version="3.12.1")
    error = refusal(interpreter=bare)
    assert "/usr/bin/python3 -m pip install torch" in (error.hint or "")
    assert plan(interpreter=bare, framework=Framework.TENSORFLOW).python == "/usr/bin/python3"
    without_lightning = Interpreter(path="/p", version="3.12.1", torch="")
    assert plan(interpreter=without_lightning).python == "/p"


def test_an_executable_needs_no_interpreter_and_a_script_does() -> None:
    assert plan(interpreter=None, kind=ProgramKind.EXECUTABLE, target="./train.sh").python is None
    assert plan(kind=ProgramKind.EXECUTABLE, target="./train.sh").python is None
    refusal(InvalidValue, interpreter=None)


def test_an_unknown_type_is_refused() -> None:
    assert "4_v100_16gb" in (refusal(UnknownInstanceType, instance_type="4_v100_17gb").hint or "")


def test_what_could_never_be_admitted_is_refused_at_once() -> None:
    assert refusal(instance_type="8_v100_16gb", gpus=65).hint == "at most --gpus 64 here"
    assert plan(instance_type="8_v100_16gb", gpus=64).gang.world_size == 64
    refusal(instance_type="8_v100_16gb", gpus=10**12)
    small = Inventory(hostname="nano", cpus=2, memory_mib=6 * 1024, available_mib=5 * 1024)
    error = refusal(inventory=small, instance_type="8_v100_16gb", gpus=15)
    assert "15 simulated ranks" in error.message
    assert error.hint == "at most --gpus 14 here"
    assert plan(small, instance_type="8_v100_16gb", gpus=14).gpus == 14
    assert "--processes_per_node" in (refusal(inventory=small, processes_per_node=15).hint or "")


def test_a_program_that_starts_its_own_ranks_is_counted_by_gpus() -> None:
    refusal(instance_type="8_v100_16gb", gpus=72, kind=ProgramKind.EXECUTABLE, target="./train.sh")


def test_the_smallest_computer_runs_a_plain_script() -> None:
    tiny = Inventory(hostname="pi", cpus=1, memory_mib=900, available_mib=400)
    assert layout(plan(tiny)) == (1, 1, 0, 1, 1)


def test_a_cluster_that_does_not_simulate_says_so() -> None:
    bare = Inventory(hostname="head", cpus=8, memory_mib=64_000, available_mib=60_000, simulates=False)
    assert "cannot simulate" in refusal(inventory=bare, instance_type="4_v100_16gb").message


NAMES = sorted({kind.cloud or kind.name for kind in CATALOGUE.types} | {"local"})


@settings(max_examples=150)
@given(st.sampled_from(NAMES), st.integers(0, 64), st.integers(0, 300))
def test_every_type_and_every_cpus_has_a_layout_that_fits_or_a_refusal_that_names_the_largest(
    name: str, gpus: int, cpus: int
) -> None:
    request = {"instance_type": name, "gpus": gpus}
    try:
        found = plan(**request, cpus=cpus)
    except Unplannable as error:
        if error.field == "gpus":
            assert gpus
            return
        largest = int(re.findall(r"--cpus (\d+) here", error.hint or "")[0])
        assert 0 < largest < cpus
        found = plan(**request, cpus=largest)
        with pytest.raises(Unplannable):
            plan(**request, cpus=largest + 1)
    size = LAPTOP.cpus if name == "local" else CATALOGUE.find(name).cpus
    for machine in range(found.machines):
        nodes = found.gang.nodes_of(machine)
        assert sum(node.cpus for node in nodes) <= size or (name == "local" and nodes[0].cpus == 1)
