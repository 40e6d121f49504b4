"""services.drivers: who is a driver, what it is told, and what its reports change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.core.errors import Superseded, Unauthorized
from opengrid.core.protocol import GangReport
from opengrid.core.records.attempts import Attempt, AttemptState, MachineState
from opengrid.core.records.experiments import ExperimentState
from opengrid.core.tokens import attempt_token, token_hash
from opengrid.engines.engine import Engines
from opengrid.planning.inventory import Interpreter, Inventory
from opengrid.services.drivers import Drivers
from opengrid.store.database import Database
from opengrid.testing import FakeClock, FakeEngine


class DrivenFake(FakeEngine):
    """A fake whose cluster knows one driver."""

    def __init__(self) -> None:
        inventory = Inventory(hostname="head", cpus=4, memory_mib=8000, available_mib=7000)
        super().__init__(inventory, Interpreter(path="", version=""))
        self.logs: dict[str, str] = {}
        self.asked = 0
        self.reports: list[GangReport] = []

    def is_driver(self, attempt_id: str, secret_hash: str) -> bool:
        self.asked += 1
        return self.logs.get(attempt_id) == secret_hash

    def starts(self, attempt_id: str, machines: int) -> tuple[int, ...]:
        return (1,) * machines

    def has_report(self, attempt_id: str) -> bool:
        return bool(self.reports)

    def take_report(self, attempt_id: str, report: GangReport) -> None:
        self.reports.append(report)


class Bench:
    def __init__(self, folder: Path) -> None:
        self.now, self.clock, self.engine = T0, FakeClock(), DrivenFake()
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        local = FakeEngine(self.engine.offered, self.engine.python)
        engines = Engines(local)
        engines.add("lab", self.engine)
        self.changed: list[str] = []
        self.drivers = Drivers(
            self.database,
            engines,
            secret="s",
            changed=self.changed.append,
            now_us=lambda: self.now,
            clock=self.clock,
        )

    def attempt(self, name: str = "brave-otter", cluster: str = "lab") -> Attempt:
        run = make_run(name)
        (experiment,) = make_experiments(run, state=ExperimentState.PENDING)
        attempt = make_attempt(experiment, cluster=cluster, state=AttemptState.SUBMITTED, token_expires_us=T0 + 1)
        with self.database.transaction() as tx:
            tx.runs.create(run, [experiment], T0)
            tx.attempts.create(attempt, make_machines(attempt))
        self.engine.logs[attempt.id] = token_hash("its secret")
        return attempt

    def find(self, attempt: Attempt) -> Attempt:
        with self.database.read() as tx:
            return tx.attempts.find(attempt.id)

    def end(self, attempt: Attempt, to: AttemptState) -> None:
        with self.database.transaction() as tx:
            tx.attempts.move(self.find(attempt), now_us=T0, to=to, reason="over")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.database.close()


def test_only_the_driver_whose_digest_is_in_the_jobs_log_passes(bench: Bench) -> None:
    attempt = bench.attempt()
    with pytest.raises(Unauthorized):
        bench.drivers.identify(attempt.id, "a guess")
    bench.clock.step(1)
    bench.drivers.identify(attempt.id, "its secret")
    bench.drivers.identify(attempt.id, "its secret")
    assert bench.engine.asked == 2  # the cluster is asked once for whom it knows


def test_guessing_does_not_make_the_cluster_be_asked_again_and_again(bench: Bench) -> None:
    attempt = bench.attempt()
    for _ in range(20):
        with pytest.raises(Unauthorized):
            bench.drivers.identify(attempt.id, "a guess")
    assert bench.engine.asked == 1


def test_a_driver_of_nothing_or_of_what_is_over_is_told_to_end(bench: Bench) -> None:
    attempt, here = bench.attempt(), bench.attempt("calm-newt", cluster="local")
    with pytest.raises(Superseded):
        bench.drivers.identify("unknown-1", "its secret")
    with pytest.raises(Superseded):
        bench.drivers.identify(here.id, "its secret")  # its machines have no drivers
    bench.drivers.identify(attempt.id, "its secret")
    bench.end(attempt, AttemptState.STOPPED)
    with pytest.raises(Superseded):
        bench.drivers.orders(attempt.id)
    with pytest.raises(Superseded):
        bench.drivers.report(attempt.id, GangReport(started=(1, 1), gone=(None, None), placed=True))


def test_orders_carry_the_agents_token_and_change_when_the_gang_is_released(bench: Bench) -> None:
    attempt = bench.attempt()
    before = bench.drivers.orders(attempt.id)
    assert (before.starts, before.released, before.token) == ((1, 1), False, attempt_token("s", attempt.id))
    bench.end(attempt, AttemptState.ENDING)
    after = bench.drivers.orders(attempt.id)
    assert after.released
    assert after.etag != before.etag


def test_a_server_that_has_not_heard_of_a_gang_yet_asks_for_its_report(bench: Bench) -> None:
    attempt = bench.attempt()
    before = bench.drivers.orders(attempt.id)
    assert not before.is_told
    bench.drivers.report(attempt.id, GangReport(started=(1, 1), gone=(None, None), placed=True))
    after = bench.drivers.orders(attempt.id)
    assert after.is_told
    assert after.etag != before.etag


def test_a_report_says_what_the_experiment_waits_for(bench: Bench) -> None:
    attempt = bench.attempt()
    waiting = GangReport(started=(0, 0), gone=(None, None), placed=False, reason="waits for 2 machines")
    bench.drivers.report(attempt.id, waiting)
    with bench.database.read() as tx:
        assert tx.runs.experiment_by_id(attempt.experiment_id).reason == "lab: waits for 2 machines"
    assert bench.engine.reports == [waiting]
    assert bench.changed == [attempt.id]


def test_a_gang_that_runs_tells_only_what_a_machine_in_a_lost_ones_place_waits_for(bench: Bench) -> None:
    attempt = bench.attempt()
    report = GangReport(started=(1, 1), gone=(None, "killed"), placed=False, reason="waits for a machine")

    def reason() -> str:
        bench.drivers.report(attempt.id, report)
        with bench.database.read() as tx:
            return tx.runs.experiment_by_id(attempt.experiment_id).reason

    with bench.database.transaction() as tx:
        tx.attempts.move(bench.find(attempt), now_us=T0, to=AttemptState.RUNNING, reason="")
        for index in (0, 1):
            tx.attempts.update_machine(attempt.id, index, state=MachineState.PRESENT)
    assert reason() != "lab: waits for a machine"
    with bench.database.transaction() as tx:
        tx.attempts.update_machine(attempt.id, 1, state=MachineState.WAITING)
    assert reason() == "lab: waits for a machine"


def test_agents_of_a_gang_that_waited_long_still_have_time_to_say_hello(bench: Bench) -> None:
    attempt = bench.attempt()
    bench.now = T0 + 3_600_000_000
    bench.drivers.report(attempt.id, GangReport(started=(0, 0), gone=(None, None), placed=False))
    assert bench.find(attempt).token_expires_us == T0 + 1
    bench.drivers.report(attempt.id, GangReport(started=(0, 0), gone=(None, None), placed=True))
    assert bench.find(attempt).token_expires_us > bench.now
