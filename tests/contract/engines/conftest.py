"""The three engines, each with a server for its agents and a way to kill one."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pytest
from tests.support.agents import agent_zipapp  # noqa: F401
from tests.support.gang_server import Drivers, GangServer
from tests.support.processes import wait_until
from tests.support.ray_cluster import RayCluster

from opengrid.core.gang import Bundle, Gang, Node
from opengrid.core.protocol import Assignment
from opengrid.core.records.clusters import Cluster
from opengrid.core.spec import Framework, Program, ProgramKind
from opengrid.engines.engine import Engine, GangRequest
from opengrid.engines.local.engine import LocalEngine
from opengrid.engines.local.slots import GpuSlots
from opengrid.engines.ray.engine import RayEngine
from opengrid.engines.ray.render import Home
from opengrid.engines.ray.render import Program as RayProgram
from opengrid.planning.catalogue import load_catalogue
from opengrid.planning.inventory import Interpreter, Inventory
from opengrid.testing import FakeEngine

_NUMBERS = itertools.count(1)
GANG = Gang(nodes=tuple(Node(index=i, machine=i, gpus=0, cpus=1, ranks=1) for i in range(2)))


class Bench(Protocol):
    """One engine under test, and what its agents do."""

    engine: Engine

    def here(self, attempt: str) -> dict[int, int]:
        """Return the machines whose agents said hello, with how often that happened."""
        ...

    def kill(self, attempt: str, machine: int) -> None:
        """Have an agent die with kill -9."""
        ...

    def restart(self) -> None:
        """Put another engine in the place of this one, as when the server is started anew."""
        ...


def request_of(attempt: str) -> GangRequest:
    return GangRequest(
        attempt_id=attempt,
        gang=GANG,
        devices=(((),), ((),)),
        bundles=(Bundle(cpus=1), Bundle(cpus=1)),
        token="ticket-token",
    )


@pytest.fixture
def attempt() -> str:
    return f"{os.urandom(6).hex()}e0-{next(_NUMBERS)}"


@pytest.fixture
def gang_server(tmp_path: Path) -> Iterator[GangServer]:
    server = GangServer(tmp_path)
    for machine in range(GANG.machines):
        server.add(_assignment(machine, tmp_path))
    server.start()
    yield server
    server.is_superseded = True  # lets agents and drivers end
    server.kill()


@pytest.fixture(params=["fake", "local", "ray"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Each engine in turn."""
    made: Bench = request.getfixturevalue(f"{request.param}_bench")
    yield made
    made.engine.close()


class _FakeBench:
    def __init__(self) -> None:
        inventory = Inventory(hostname="box", cpus=4, memory_mib=8000, available_mib=7000)
        self.engine = FakeEngine(inventory, Interpreter(path="/python", version="3.11.9"))
        self._deaths: dict[tuple[str, int], int] = {}

    def here(self, attempt: str) -> dict[int, int]:
        lost = self.engine.lost.get(attempt, set())
        submitted = self.engine.submitted.get(attempt)
        machines = [agent.machine for agent in submitted.agents] if submitted is not None else []
        return {m: self._deaths.get((attempt, m), 0) + (m not in lost) for m in machines}

    def kill(self, attempt: str, machine: int) -> None:
        self.engine.lost.setdefault(attempt, set()).add(machine)
        self._deaths[attempt, machine] = self._deaths.get((attempt, machine), 0) + 1

    def restart(self) -> None:
        """Nothing of a fake is remembered elsewhere."""


@pytest.fixture
def fake_bench() -> Bench:
    return _FakeBench()


class _RealBench:
    """Agents are real processes that talk to a server played by the test."""

    def __init__(self, server: GangServer, make: Callable[[], LocalEngine | RayEngine]) -> None:
        self._server, self._make = server, make
        self.engine = make()

    def here(self, attempt: str) -> dict[int, int]:
        hellos = [hello for hello in list(self._server.hellos) if hello.attempt_id == attempt]
        return {m: sum(hello.machine == m for hello in hellos) for m in {hello.machine for hello in hellos}}

    def kill(self, attempt: str, machine: int) -> None:
        mine = [h for h in self._server.hellos if (h.attempt_id, h.machine) == (attempt, machine)]
        os.kill(mine[-1].pid, signal.SIGKILL)
        self._server.forget(machine)

    def restart(self) -> None:
        self.engine.close()
        self.engine = self._make()


@pytest.fixture
def local_bench(gang_server: GangServer, tmp_path: Path, agent_zipapp: Path) -> Bench:  # noqa: F811
    def make() -> LocalEngine:
        return LocalEngine(
            tmp_path / "state",
            server_file=gang_server.server_file,
            zipapp=lambda: agent_zipapp,
            on_change=lambda: None,
            clock=time.monotonic,
            slots=GpuSlots(tmp_path / "gpus"),
        )

    return _RealBench(gang_server, make)


@pytest.fixture
def ray_bench(gang_server: GangServer, ray: RayCluster, agent_zipapp: Path) -> Iterator[Bench]:  # noqa: F811
    import hashlib
    import json

    url = json.loads(gang_server.server_file.read_text())["url"]
    digest = hashlib.sha256(agent_zipapp.read_bytes()).hexdigest()
    with tempfile.TemporaryDirectory(prefix="og-ray-", dir="/tmp") as work:
        cluster = Cluster(
            name="lab", engine="ray", address=ray.address, possible={}, work_dir=work, python=None, user="me",
            created_us=0,
        )  # fmt: skip

        def wake(_: str) -> None:
            with gang_server.changed:
                gang_server.changed.notify_all()

        def make() -> RayEngine:
            engine = RayEngine(
                cluster,
                ray.token,
                catalogue=load_catalogue(),
                home=lambda: Home(url=url, certificate=None),
                program=lambda: RayProgram(url=f"{url}/agent/v1/program/{digest}", digest=digest),
                on_change=lambda: None,
                orders_changed=wake,
            )
            gang_server.drivers = Drivers(engine, agent_zipapp, GANG.machines)
            return engine

        made = _RealBench(gang_server, make)
        yield made
        jobs = [job for job in made.engine._watching.jobs() if not job.is_over]
        for job in jobs:
            made.engine.cancel(job.id, GANG.machines)
            wait_until(lambda id=job.id: made.engine.is_over(id), "the driver's end")


def _assignment(machine: int, folder: Path) -> Assignment:
    return Assignment(
        experiment_id="r1e0",
        experiment="run-1-exp0",
        run="run-1",
        attempt=1,
        machine=machine,
        user="me",
        cluster="lab",
        instance_type="local",
        simulated=True,
        framework=Framework.TENSORFLOW,
        program=Program(kind=ProgramKind.SCRIPT, target="t.py"),
        python=None,
        gang=GANG,
        devices=((),),
        environment={},
        user_set=(),
        bundle="00",
        bundle_path=None,
        directory=".",
        work_dir=str(folder / "work"),
        preload=(),
        now_ns=0,
    )
