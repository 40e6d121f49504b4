"""planning.fleet, fleet_plan, fleet_queue: a cluster's machines, what fits on them, and who starts when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opengrid.core.errors import GridError, Unplannable
from opengrid.core.gang import Bundle, Plan
from opengrid.core.spec import Actions, Dependencies, Framework, Program, ProgramKind, RunSpec, Source
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.fleet import Fleet, FleetMachine, Placed, fits
from opengrid.planning.fleet_plan import plan_on_fleet
from opengrid.planning.fleet_queue import admit_to_fleet
from opengrid.planning.inventory import Interpreter
from opengrid.planning.queue import Holding, Start, Wait, Waiting

CATALOGUE = load_catalogue()
PYTHON = Interpreter(path="", version="", torch="")


def machine(gpus: int, cpus: int = 16, address: str = "10.0.0.1", **changes: Any) -> FleetMachine:
    values = {"id": address, "kind": "", "memory_mib": 64 * 1024, **changes}
    return FleetMachine(address=address, cpus=cpus, gpus=gpus, **values)


def fleet(*gpus: int, **changes: Any) -> Fleet:
    machines = tuple(machine(number, address=f"10.0.0.{i}") for i, number in enumerate(gpus, 1))
    return Fleet(cluster="lab", machines=machines, **changes)


def bundles(*gpus: int, **changes: Any) -> Placed:
    return Placed(bundles=tuple(Bundle(cpus=1, gpus=g, **changes) for g in gpus), addresses=(None,) * len(gpus))


def plan(on: Fleet, **request: Any) -> Plan:
    source = Source(bundle=None, root="/home/me/project", files=3)
    program = Program(kind=ProgramKind.SCRIPT, target="train.py")
    spec = RunSpec(program=program, source=source, **request)
    return plan_on_fleet(spec, catalogue=CATALOGUE, fleet=on, interpreter=PYTHON)


def refusal(on: Fleet, **request: Any) -> GridError:
    with pytest.raises(Unplannable) as caught:
        plan(on, **request)
    assert caught.value.hint
    return caught.value


def test_every_machine_of_a_gang_is_a_machine_of_its_own() -> None:
    assert fits(fleet(4, 4).machines, [bundles(4, 4)])
    assert not fits(fleet(8).machines, [bundles(4, 4)])
    assert fits(fleet(8).machines, [bundles(4), bundles(4)])  # of two gangs


def test_small_gangs_leave_large_machines_whole() -> None:
    assert fits(fleet(8, 2).machines, [bundles(2), bundles(8)])
    assert not fits(fleet(8, 2).machines, [bundles(3), bundles(8)])


def test_a_gang_counts_where_it_is() -> None:
    on_the_first = Placed(bundles=(Bundle(cpus=1, gpus=2),), addresses=("10.0.0.1",))
    assert not fits(fleet(4, 2).machines, [on_the_first, bundles(4)])
    assert fits(fleet(4, 2).machines, [Placed(bundles=on_the_first.bundles, addresses=("10.0.0.2",)), bundles(4)])


def test_gpus_of_another_model_do_not_count_where_one_is_named() -> None:
    machines = (machine(4, accelerator="V100"), machine(4, accelerator="T4", address="10.0.0.2"))
    assert fits(machines, [bundles(4, accelerator="T4")])
    assert not fits(machines, [bundles(4, 4, accelerator="T4")])


@given(st.lists(st.integers(1, 8), min_size=1, max_size=5), st.lists(st.integers(1, 8), min_size=1, max_size=5))
@settings(max_examples=100)
def test_what_fits_never_takes_more_than_there_is(has: list[int], wants: list[int]) -> None:
    if fits(fleet(*has).machines, [bundles(*wants)]):
        assert all(a >= b for a, b in zip(sorted(has, reverse=True), sorted(wants, reverse=True), strict=False))
        assert len(wants) <= len(has)


@pytest.mark.parametrize(
    ("gpus", "machines_nodes_gpus_world"),
    [(4, (1, 1, 4, 4)), (8, (2, 2, 4, 8)), (5, (2, 5, 1, 5)), (6, (2, 2, 3, 6)), (None, (1, 1, 4, 4))],
)
def test_the_layout_is_that_of_one_computer(
    gpus: int | None, machines_nodes_gpus_world: tuple[int, int, int, int]
) -> None:
    found = plan(fleet(4, 4, 4), instance_type="4_v100_16gb", gpus=gpus)
    seen = (found.machines, len(found.gang.nodes), found.gang.nodes[0].gpus, found.gang.world_size)
    assert seen == machines_nodes_gpus_world
    assert (found.cluster, found.simulated, found.python) == ("lab", False, None)


def test_gpus_of_any_model_stand_in_and_it_says_so() -> None:
    found = plan(fleet(4, 4), instance_type="4_v100_16gb", gpus=8)
    assert "GPUs of lab as 2 nodes × 4 GPUs" in found.reason
    assert found.accelerator == ""


def test_the_model_asked_for_is_taken_where_the_cluster_has_it() -> None:
    machines = tuple(
        machine(4, address=f"10.0.0.{i}", accelerator=model) for i, model in enumerate(("T4", "V100", "V100"))
    )
    on = Fleet(cluster="lab", machines=machines)
    assert plan(on, instance_type="4_v100_16gb", gpus=8).accelerator == "V100"
    assert plan(on, instance_type="4_v100_16gb", gpus=12).accelerator == ""


def test_the_model_is_left_open_where_no_machine_could_have_another() -> None:
    volta = {"accelerator": "V100", "address": ""}
    possible = (machine(4, **volta), machine(4, **volta), machine(2, accelerator="T4", address=""))
    on = Fleet(cluster="lab", machines=(machine(0),), possible=possible)
    found = plan(on, instance_type="4_v100_16gb", gpus=8)
    assert (found.accelerator, found.devices) == ("", "8 × V100")
    assert "GPUs of lab" not in found.reason
    assert plan(on, instance_type="4_v100_16gb", gpus=6).accelerator == ""
    assert plan(on, instance_type="4_v100_16gb", gpus=2).accelerator == "V100"


def test_the_clusters_own_machine_is_the_one_with_most_gpus() -> None:
    found = plan(fleet(2, 8, 8), gpus=16)
    assert (found.instance_type, found.machines, found.gang.nodes[0].gpus) == ("local", 2, 8)


def test_machines_that_can_be_started_count() -> None:
    possible = (machine(4, address=""),) * 2
    found = plan(Fleet(cluster="lab", machines=(machine(0),), possible=possible), instance_type="4_v100_16gb", gpus=8)
    assert found.machines == 2


def test_too_few_machines_are_refused_with_what_fits() -> None:
    error = refusal(fleet(8, 2), instance_type="4_v100_16gb", gpus=8)
    assert "needs 2 machines with 4 GPUs and 8 CPUs each" in error.message
    assert "1 machine with 8 GPUs, 1 machine with 2 GPUs" in error.message
    assert "--gpus 5 fits" in str(error.hint)
    assert "the cluster's own machines hold 8" in str(error.hint)


def test_a_rehearsal_on_a_cluster_takes_cpus_only() -> None:
    found = plan(fleet(0, 0), instance_type="4_v100_16gb", gpus=8, simulate=True)
    assert found.simulated
    assert [(b.cpus, b.gpus) for b in found.bundles] == [(8, 0), (8, 0)]


def test_a_cluster_never_simulates_by_itself() -> None:
    assert "--simulate" in str(refusal(fleet(0, 0), instance_type="4_v100_16gb", gpus=8).hint)


def test_nodes_get_fewer_cpus_where_the_machines_have_no_more() -> None:
    on = Fleet(cluster="lab", machines=(machine(4, cpus=6), machine(4, cpus=6, address="10.0.0.2")))
    assert plan(on, instance_type="4_v100_16gb", gpus=8).gang.nodes[0].cpus == 6
    error = refusal(on, instance_type="4_v100_16gb", gpus=8, cpus=7)
    assert "at most --cpus 6" in str(error.hint)


def test_other_frameworks_run_on_one_node_here_too() -> None:
    error = refusal(fleet(4, 4), instance_type="4_v100_16gb", gpus=8, framework=Framework.TENSORFLOW)
    assert "runs on one node" in error.message


def waits(name: str, on: Fleet, gpus: int, per_machine: int, at: int) -> Waiting:
    return Waiting(experiment=name, created_us=at, plan=plan(on, instance_type=f"{per_machine}_v100_16gb", gpus=gpus))


def holds(name: str, placed: Placed, at: int = 0) -> Holding:
    return Holding(experiment=name, created_us=at, placed=placed)


def test_gangs_start_oldest_first_and_whole() -> None:
    on = fleet(4, 4, 4)
    decisions = admit_to_fleet([waits("b", on, 8, 4, 2), waits("a", on, 8, 4, 1)], [], on)
    assert [type(one) for one in decisions] == [Start, Wait]
    assert decisions[0].experiment == "a"
    assert isinstance(decisions[1], Wait)
    assert decisions[1].reason == "waits for 2 machines with 4 GPUs each (in use by a)"


def test_a_small_one_may_pass_but_not_delay_the_oldest() -> None:
    on = fleet(4, 4, 1)
    held = [holds("old", bundles(4), at=0)]
    large, tiny, small = waits("large", on, 8, 4, 1), waits("tiny", on, 1, 1, 2), waits("small", on, 4, 4, 3)
    decided = {one.experiment: one for one in admit_to_fleet([large, tiny, small], held, on)}
    assert isinstance(decided["large"], Wait)
    assert isinstance(decided["tiny"], Start)
    small_one = decided["small"]
    assert isinstance(small_one, Wait)
    assert "behind large" in small_one.reason


def test_what_the_cluster_could_not_hold_at_all_keeps_nobody_waiting() -> None:
    on, smaller = fleet(4, 4), fleet(4)
    decided = admit_to_fleet([waits("two", on, 8, 4, 1), waits("one", on, 4, 4, 2)], [], smaller)
    assert [type(one) for one in decided] == [Wait, Start]


def test_everything_waits_for_a_cluster_that_does_not_answer() -> None:
    on = fleet(4, 4)
    silent = Fleet(cluster="lab", machines=on.machines, problem="Ray does not answer: refused")
    (one,) = admit_to_fleet([waits("a", on, 4, 4, 1)], [], silent)
    assert isinstance(one, Wait)
    assert one.reason == "waits: the cluster lab does not answer (Ray does not answer: refused)"


def test_what_the_tree_needs_is_installed_on_the_machines_and_it_says_so() -> None:
    needs = Dependencies(file="requirements.txt", requirements=("einops",), python=">=3.99")
    found = plan(fleet(4), instance_type="4_v100_16gb", dependencies=needs)
    assert found.packages == "requirements.txt: 1 requirement, installed on the machines that lack them"


def test_build_actions_are_carried_out_on_the_machines_and_it_says_so() -> None:
    needs = Dependencies(file="requirements.txt", requirements=("einops",))
    actions = Actions(on_build=("make",), on_build_end=("pip install ./kernels",))
    found = plan(fleet(4), instance_type="4_v100_16gb", dependencies=needs, actions=actions)
    assert found.packages == "requirements.txt: 1 requirement and 2 actions, carried out once on each machine"
    alone = plan(fleet(4), instance_type="4_v100_16gb", actions=Actions(on_build_start=("make",)))
    assert alone.packages == "1 action, carried out once on each machine"


@pytest.mark.parametrize(
    ("kind", "request_", "cost"),
    [
        ("4_v100_16gb", {"instance_type": "4_v100_16gb"}, 2 * 12.85),
        ("p3.8xlarge", {"instance_type": "4_v100_16gb"}, 2 * 12.85),
        ("", {"instance_type": "4_v100_16gb"}, 0.0),
        ("4_v100_16gb", {}, 0.0),
        ("4_v100_16gb", {"instance_type": "4_v100_16gb", "simulate": True}, 0.0),
    ],
)
def test_machines_cost_what_their_type_costs_and_nothing_where_they_are_own_or_simulated(
    kind: str, request_: dict[str, Any], cost: float
) -> None:
    machines = tuple(machine(4, address=f"10.0.0.{i}", kind=kind) for i in (1, 2))
    planned = plan(Fleet(cluster="lab", machines=machines), gpus=8, **request_)
    assert planned.cost_per_hour == pytest.approx(cost)
    assert planned.to_wire()["cost_per_hour"] == pytest.approx(cost)


def markets(*machines: tuple[int, str]) -> Fleet:
    return Fleet(
        cluster="lab",
        machines=tuple(
            machine(gpus, address=f"10.0.0.{i}", market=market, kind="4_v100_16gb" + "_spot" * (market == "spot"))
            for i, (gpus, market) in enumerate(machines, 1)
        ),
    )


def test_spot_machines_are_for_those_who_ask_for_them_at_their_price() -> None:
    on = markets((4, "spot"), (4, "on_demand"))
    asked, others = (plan(on, instance_type="4_v100_16gb", use_spot=spot) for spot in (True, False))
    assert [b.market for b in asked.bundles + others.bundles] == ["spot", "on_demand"]
    assert (asked.price_per_hour, others.price_per_hour) == (3.86, 12.85)
    assert (asked.cost_per_hour, others.cost_per_hour) == (3.86, 12.85)
    assert not fits(on.machines, [Placed(bundles=asked.bundles * 2, addresses=(None, None))])


def test_a_gang_that_fits_on_machines_of_the_other_market_only_is_refused() -> None:
    error = refusal(markets((4, "spot"), (2, "on_demand")), instance_type="4_v100_16gb")
    assert "lab has 1 machine with 2 GPUs on its on-demand machines" in error.message


def test_spot_has_no_effect_where_nothing_comes_from_a_market_and_it_says_so() -> None:
    found = plan(fleet(4), instance_type="4_v100_16gb", use_spot=True)
    assert found.bundles[0].market == ""
    assert "spot has no effect: lab has no spot machines" in found.reason
