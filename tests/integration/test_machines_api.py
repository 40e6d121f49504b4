"""Machines and the queue over HTTP: whose each GPU is, and why each experiment waits."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run
from tests.support.server import serving

from opengrid.core.records.experiments import ExperimentState
from opengrid.engines.engine import Engines
from opengrid.planning.inventory import Accelerator, Interpreter, Inventory
from opengrid.services.machines import Machines
from opengrid.store.database import Database
from opengrid.testing import FakeEngine


def test_every_gpu_tells_whose_it_is(tmp_path: Path) -> None:
    gpus = tuple(
        Accelerator(uuid=f"GPU-{i}", name="NVIDIA H100", memory_mib=81_559, busy=busy)
        for i, busy in enumerate([None, "in use by process 1", "in use by process 2", "in use by process 3"])
    )
    inventory = Inventory(hostname="box", cpus=64, memory_mib=200_000, available_mib=100_000, accelerators=gpus)
    database = Database.open(f"sqlite:///{tmp_path / 'grid.db'}")
    run = make_run("calm-fox")
    with database.transaction() as tx:
        tx.runs.create(run, make_experiments(run, 3), T0)
        tx.runs.move(tx.runs.experiment("calm-fox-exp0"), ExperimentState.PENDING, reason="", now_us=T0)
        attempt = make_attempt(tx.runs.experiment("calm-fox-exp0"))
        devices = ((("GPU-1",),), (("GPU-2",),))
        machines = [dataclasses.replace(m, devices=d) for m, d in zip(make_machines(attempt), devices, strict=True)]
        tx.attempts.create(attempt, machines)
    engine = FakeEngine(inventory, Interpreter(path="/python", version="3.11.9", torch="2.13.0"))
    shown = Machines(database, Engines(engine)).show()
    (host,) = shown.machines
    assert [(gpu.index, gpu.experiment, gpu.user, gpu.busy) for gpu in host.gpus] == [
        (0, None, None, None),
        (1, "calm-fox-exp0", "ada", None),
        (2, "calm-fox-exp0", "ada", None),
        (3, None, None, "in use by process 3"),
    ]
    (tenant,) = host.experiments
    assert (tenant.experiment, tenant.state, tenant.machines, tenant.nodes, tenant.ranks) == (
        *("calm-fox-exp0", "pending"),
        *(2, 2, 8),
    )
    assert (shown.queued, host.hostname, host.cluster) == (2, "box", "local")
    database.close()


@pytest.mark.parametrize(("limit", "offset", "rows"), [(2, 0, [1, 2]), (2, 2, [3]), (9, 9, [])])
def test_the_queue_comes_in_pages_in_its_order(tmp_path: Path, limit: int, offset: int, rows: list[int]) -> None:
    with serving(tmp_path) as (caller, _):
        for name in ("old-owl", "calm-fox", "shy-hare"):
            caller.run(name, instance_type="4_v100_16gb", gpus=8)
        document = caller("GET", "queue", limit=limit, offset=offset).document
        assert ([row["position"] for row in document["queue"]], document["total"]) == (rows, 3)
        assert [row["run"] for row in document["queue"]] == ["old-owl", "calm-fox", "shy-hare"][offset : offset + limit]
        assert all((row["gpus"], row["instance_type"]) == (8, "4_v100_16gb") for row in document["queue"])
        machines = caller("GET", "machines").document
        assert (machines["queued"], machines["machines"][0]["experiments"]) == (3, [])
