"""planning.queue: who starts now, on which GPUs, and why the others wait."""

from __future__ import annotations

import dataclasses
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.gang import Plan
from opengrid.planning.capacity import cpu_ranks
from opengrid.planning.layout import lay_out, plain_node
from opengrid.planning.plan import Accelerator, Inventory
from opengrid.planning.queue import Holding, Start, Wait, Waiting, admit

GIB = 1024


def computer(gpus: int = 0, available_gib: float = 20, busy: dict[int, str] | None = None, **changes: Any) -> Inventory:
    accelerators = tuple(
        Accelerator(uuid=f"g{i}", name="H100", memory_mib=81559, busy=(busy or {}).get(i)) for i in range(gpus)
    )
    values = {"memory_mib": 24 * GIB, "available_mib": int(available_gib * GIB), **changes}
    return Inventory(hostname="box", cpus=8, accelerators=accelerators, **values)


def plan_of(gpus: int, per_machine: int = 8, *, real: bool, ranks: int | None = None) -> Plan:
    gang = lay_out(gpus, per_machine, cpus=2, ranks=1) if gpus else plain_node(cpus=2, ranks=ranks or 1)
    if gpus:
        node = gang.nodes[0]
        gang = lay_out(gpus, per_machine, cpus=2, ranks=ranks or node.gpus)
    return Plan(
        gang=gang, instance_type="x", gpus=gpus, experiments=1, simulated=bool(gpus) and not real, price_per_hour=0.0,
        python=None, source="", reason="", devices="H100" if real else "",
    )  # fmt: skip


def real(name: str, gpus: int, at: int = 0, visible: set[str] | None = None, per_machine: int = 8) -> Waiting:
    shown = None if visible is None else frozenset(visible)
    return Waiting(experiment=name, created_us=at, plan=plan_of(gpus, per_machine, real=True), visible=shown)


def simulated(name: str, ranks: int, at: int = 0) -> Waiting:
    return Waiting(experiment=name, created_us=at, plan=plan_of(ranks, real=False))


def holds(name: str, *uuids: str, at: int = 0, ranks: int = 0, is_starting: bool = False) -> Holding:
    return Holding(experiment=name, created_us=at, devices=frozenset(uuids), ranks=ranks, is_starting=is_starting)


def started(decisions: list[Start | Wait]) -> list[str]:
    return [one.experiment for one in decisions if isinstance(one, Start)]


def reasons(decisions: list[Start | Wait]) -> dict[str, str]:
    return {one.experiment: one.reason for one in decisions if isinstance(one, Wait)}


def test_gpus_are_dealt_out_to_the_nodes_of_each_machine() -> None:
    (start,) = admit([real("a", 8, per_machine=4)], [], computer(gpus=8))
    assert start == Start(experiment="a", devices=((("g0", "g1", "g2", "g3"),), (("g4", "g5", "g6", "g7"),)))
    (start,) = admit([real("a", 5, per_machine=4)], [], computer(gpus=8))
    assert start == Start(experiment="a", devices=((("g0",), ("g1",), ("g2",), ("g3",)), (("g4",),)))


def test_a_simulated_gang_starts_without_devices() -> None:
    (start,) = admit([simulated("a", 16)], [], computer())
    assert start == Start(experiment="a", devices=(((),), ((),)))


def test_a_gang_waits_whole_and_says_for_what() -> None:
    decisions = admit([real("b", 4, at=2)], [holds("kind-fox-3-exp0", "g0", "g1", at=1)], computer(gpus=4))
    assert reasons(decisions) == {"b": "waits for 2 more GPUs of 4 (in use by kind-fox-3-exp0)"}


def test_a_strangers_process_is_named() -> None:
    decisions = admit([real("b", 1)], [], computer(gpus=1, busy={0: "in use by process 4711"}))
    assert reasons(decisions) == {"b": "waits for 1 GPU (in use by H100: in use by process 4711)"}


def test_only_gpus_that_the_shell_shows_are_given() -> None:
    (start,) = admit([real("a", 2, visible={"g1", "g3"})], [], computer(gpus=4))
    assert isinstance(start, Start)
    assert start.devices == ((("g1", "g3"),),)


def test_the_oldest_starts_first() -> None:
    decisions = admit([real("young", 4, at=9), real("old", 4, at=1)], [], computer(gpus=4))
    assert started(decisions) == ["old"]


def test_a_smaller_experiment_may_start_on_what_the_oldest_leaves_over() -> None:
    running = [holds("r", *(f"g{i}" for i in range(6)), at=0)]
    decisions = admit([real("head", 4, at=1), real("small", 2, at=2)], running, computer(gpus=8))
    assert started(decisions) == ["small"]


def test_a_smaller_experiment_that_would_delay_the_oldest_waits_behind_it() -> None:
    running = [holds("r", *(f"g{i}" for i in range(6)), at=0)]
    decisions = admit([real("head", 8, at=1), real("small", 1, at=2)], running, computer(gpus=8))
    assert started(decisions) == []
    assert reasons(decisions)["small"].startswith("waits behind head")


def test_small_experiments_of_the_past_count_too() -> None:
    running = [holds("r", "g0", "g1", "g2", "g3", at=0), holds("small0", "g4", "g5", at=2)]
    decisions = admit([real("head", 6, at=1), real("small1", 1, at=3)], running, computer(gpus=8))
    assert started(decisions) == []


def test_what_others_hold_is_no_reason_to_keep_the_rest_idle() -> None:
    busy = computer(gpus=8, busy=dict.fromkeys(range(4), "in use by process 1"))
    decisions = admit([real("head", 8, at=1), real("small", 2, at=2)], [], busy)
    assert started(decisions) == ["small"]


def test_a_younger_one_gets_gpus_that_the_oldest_cannot_use() -> None:
    oldest = real("head", 2, at=1, visible={"g0", "g1"})
    decisions = admit([oldest, real("small", 2, at=2)], [holds("r", "g0", at=0)], computer(gpus=4))
    (start,) = [one for one in decisions if isinstance(one, Start)]
    assert start.devices == ((("g2", "g3"),),)


def test_ranks_wait_for_memory_and_say_how_much() -> None:
    decisions = admit([simulated("a", 32)], [], computer(available_gib=6.9))
    assert reasons(decisions) == {"a": "waits for memory: 32 simulated ranks need 4.8 GB, 3.0 GB are free"}


def test_ranks_that_are_starting_have_not_taken_their_memory_yet() -> None:
    one = [simulated("b", 16, at=1)]
    nearly = computer(available_gib=4 + 32 * 0.15 * 1e9 / 2**30 - 0.1)
    assert started(admit(one, [holds("a", ranks=16)], nearly)) == ["b"]
    assert started(admit(one, [holds("a", ranks=16, is_starting=True)], nearly)) == []


def test_at_most_64_ranks_run_at_once() -> None:
    big = computer(available_gib=100, memory_mib=128 * GIB)
    decisions = admit([simulated("b", 32, at=1)], [holds("a", ranks=40)], big)
    assert reasons(decisions) == {"b": "waits for room: 32 simulated ranks, 24 of 64 places are free (in use by a)"}


def test_several_gangs_of_one_pass_share_the_room() -> None:
    decisions = admit([simulated(f"e{i}", 16, at=i) for i in range(6)], [], computer(available_gib=24))
    assert started(decisions) == ["e0", "e1", "e2", "e3"]


def test_gpus_and_ranks_do_not_wait_for_one_another() -> None:
    waiting = [real("head", 4, at=1), simulated("sim", 8, at=2), real("big", 4, at=3)]
    assert started(admit(waiting, [holds("r", "g0", at=0)], computer(gpus=4))) == ["sim"]


def test_one_rank_starts_on_the_smallest_computer_when_it_is_alone() -> None:
    tiny = computer(available_gib=0.4, memory_mib=900)
    plain = Waiting(experiment="a", created_us=0, plan=plan_of(0, real=False))
    assert started(admit([plain], [], tiny)) == ["a"]
    assert started(admit([plain], [holds("r", ranks=1)], tiny)) == []


def test_ranks_on_real_gpus_need_no_room_for_cpu_ranks() -> None:
    assert cpu_ranks(plan_of(8, real=True)) == 0
    assert cpu_ranks(plan_of(8, real=False, ranks=1)) == 8


@given(st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=12), st.integers(0, 8), st.integers(4, 24))
def test_nothing_is_given_twice_and_gangs_are_whole(wanted: list[tuple[int, bool]], gpus: int, available: int) -> None:
    waiting = [
        real(f"e{i}", n, at=i) if is_real else simulated(f"e{i}", n, at=i) for i, (n, is_real) in enumerate(wanted)
    ]
    decisions = admit(waiting, [], computer(gpus=gpus, available_gib=available))
    assert [one.experiment for one in decisions] == [one.experiment for one in waiting]
    given_out: list[str] = []
    for one, decision in zip(waiting, decisions, strict=True):
        if isinstance(decision, Start):
            uuids = [uuid for machine in decision.devices for node in machine for uuid in node]
            assert len(uuids) == (one.plan.gpus if one.plan.devices else 0)
            given_out += uuids
    assert len(given_out) == len(set(given_out))


@given(st.integers(0, 2**32), st.booleans())
def test_nobody_starves_however_many_small_ones_come(seed: int, is_real: bool) -> None:
    """Small experiments arrive without end; the head must start before twice its elders' time is over."""
    chance = random.Random(seed)
    make = real if is_real else simulated
    whole = 8 if is_real else 32
    host = computer(gpus=8) if is_real else computer(available_gib=4 + 32.5 * 0.15 * 1e9 / 2**30, memory_mib=9 * GIB)
    head = make("head", chance.randint(whole // 2, whole), at=100)
    holding: list[tuple[int, Holding]] = []
    waiting = [make(f"old{i}", chance.randint(1, whole // 2), at=i) for i in range(3)] + [head]
    for step in range(60):
        holding = [(end, held) for end, held in holding if end > step]
        waiting += [make(f"s{step}-{i}", chance.randint(1, max(1, whole // 4)), at=1000 + step) for i in range(2)]
        held = [dataclasses.replace(one, is_starting=True) for _, one in holding]
        for decision in admit(waiting, held, host):
            if isinstance(decision, Start):
                one = next(w for w in waiting if w.experiment == decision.experiment)
                waiting.remove(one)
                uuids = frozenset(u for machine in decision.devices for node in machine for u in node)
                kept = Holding(
                    experiment=one.experiment, created_us=one.created_us, devices=uuids, ranks=cpu_ranks(one.plan)
                )
                holding.append((step + chance.randint(3, 8), kept))
        if head not in waiting:
            return
    pytest.fail("the head never started")
