"""engines.ray outside: what it makes of Ray's answers, of silence, and of a head that was restarted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from tests.support.fake_ray import FakeRay
from tests.support.processes import wait_until

from opengrid.core.errors import Conflict, Unauthorized, Unusable
from opengrid.core.gang import Bundle, Gang, Node
from opengrid.core.protocol import GangReport
from opengrid.core.records.clusters import Cluster
from opengrid.engines.engine import EngineAway, GangRequest
from opengrid.engines.ray.engine import RayEngine, greet
from opengrid.engines.ray.render import Home, Program
from opengrid.planning.catalogue import load_catalogue

GANG = Gang(nodes=tuple(Node(index=i, machine=i, gpus=4, cpus=8, ranks=4) for i in range(2)))
ID = "r1e0-1"
ALL = frozenset({0, 1})


def engine_of(address: str, token: str | None = None) -> RayEngine:
    cluster = Cluster(
        name="lab", engine="ray", address=address, possible={"4_v100_16gb": 2}, work_dir="/w", python=None, user="me",
        created_us=0,
    )  # fmt: skip
    return RayEngine(
        cluster,
        token,
        catalogue=load_catalogue(),
        home=lambda: Home(url="http://10.0.0.9:8285", certificate=None),
        program=lambda: Program(url="http://10.0.0.9:8285/p", digest="ab"),
        on_change=lambda: None,
        orders_changed=lambda _: None,
    )


@pytest.fixture
def fake() -> Iterator[FakeRay]:
    made = FakeRay()
    made.add_node("10.0.0.1", CPU=8)
    made.add_node("10.0.0.2", CPU=8, GPU=4)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def engine(fake: FakeRay) -> Iterator[RayEngine]:
    made = engine_of(fake.address)
    yield made
    made.close()


def submit(engine: RayEngine, machines: tuple[int, ...] = (0, 1)) -> None:
    bundles = (Bundle(cpus=8, gpus=4),) * 2
    submission = engine.render(GangRequest(attempt_id=ID, gang=GANG, devices=(), bundles=bundles, token="t"))
    agents = tuple(agent for agent in submission.agents if agent.machine in machines)
    engine.submit(type(submission)(attempt_id=ID, agents=agents))


def gone(engine: RayEngine) -> frozenset[int]:
    return engine.gone([(ID, 2)])[ID]


def report(engine: RayEngine, *started: int, gone: tuple[str | None, ...] = (None, None)) -> None:
    engine.take_report(ID, GangReport(started=started, gone=gone, placed=True))


def test_the_fleet_is_what_ray_has_and_what_it_could_start(engine: RayEngine) -> None:
    fleet = engine.inventory()
    assert fleet.problem is None
    assert [(m.address, m.cpus, m.gpus) for m in fleet.machines] == [("10.0.0.1", 8, 0), ("10.0.0.2", 8, 4)]
    assert [m.kind for m in fleet.possible] == ["4_v100_16gb", "4_v100_16gb"]


def test_an_old_ray_a_wrong_token_and_another_program_are_refused() -> None:
    fake = FakeRay(token="right", version="2.9.3")
    fake.start()
    try:
        with pytest.raises(Unusable, match=r"runs Ray 2\.9\.3"):
            greet(fake.address, "right")
        fake.version = "2.40.0"
        assert greet(fake.address, "right") == "2.40.0"
        with pytest.raises(Unauthorized):
            greet(fake.address, "wrong")
        fake.version = ""
        with pytest.raises(Unusable, match="is not the API of a Ray cluster"):
            greet(fake.address, "right")
    finally:
        fake.stop()
    with pytest.raises(EngineAway):
        greet(fake.address, "right")


def test_an_attempt_is_submitted_once_by_this_server_and_the_next(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    submit(engine)
    again = engine_of(fake.address)
    submit(again)
    again.close()
    assert fake.posts == 1
    assert list(fake.jobs) == [ID]


def test_silence_means_nothing(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    report(engine, 1, 1)
    fake.stop()
    wait_until(lambda: engine.inventory().problem)
    assert gone(engine) == frozenset()
    assert not engine.is_over(ID)
    with pytest.raises(EngineAway):
        submit(engine)
    fake.start()
    wait_until(lambda: engine.inventory().problem is None)
    assert gone(engine) == frozenset()


def test_a_head_that_was_restarted_knows_nothing_and_the_attempt_is_over(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    report(engine, 1, 1)
    fake.stop()
    fake.jobs.clear()
    fake.start()
    wait_until(lambda: engine.is_over(ID))
    assert gone(engine) == ALL
    with pytest.raises(Conflict):
        submit(engine, (0,))


def test_a_driver_that_failed_takes_all_machines_along_and_says_why(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    fake.jobs[ID].update(status="FAILED", message="last logs:\nModuleNotFoundError: No module named 'ray'\n")
    wait_until(lambda: gone(engine) == ALL)
    assert engine.last_words(ID, 0) == "ModuleNotFoundError: No module named 'ray'"
    assert not engine.cannot_start(ID)


def test_a_driver_that_can_never_run_is_told_from_one_that_failed(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    assert not engine.cannot_start(ID)
    fake.jobs[ID].update(status="FAILED", message="Job entrypoint command failed with exit code 127, logs:\n")
    wait_until(lambda: gone(engine) == ALL)
    assert engine.cannot_start(ID)
    assert "head has no python" in engine.last_words(ID, 0)


def test_a_machine_is_started_anew_only_when_its_last_agent_is_gone(engine: RayEngine) -> None:
    submit(engine)
    report(engine, 1, 1)
    submit(engine, (1,))
    assert engine.starts(ID, 2) == (1, 1)
    report(engine, 1, 1, gone=(None, "killed"))
    assert gone(engine) == {1}
    assert engine.last_words(ID, 1) == "killed"
    submit(engine, (1,))
    assert (engine.starts(ID, 2), gone(engine)) == ((1, 2), frozenset())
    report(engine, 1, 2)
    assert gone(engine) == frozenset()
    report(engine, 1, 2, gone=(None, "killed again"))
    assert gone(engine) == {1}


def test_a_new_server_waits_for_the_drivers_word_before_it_starts_anything_anew(
    fake: FakeRay, engine: RayEngine
) -> None:
    submit(engine)
    again = engine_of(fake.address)
    submit(again, (1,))  # the former server had decided so
    assert again.starts(ID, 2) == (1, 1)
    assert gone(again) == frozenset()
    report(again, 1, 3, gone=(None, "killed"))
    assert again.starts(ID, 2) == (1, 4)
    assert gone(again) == frozenset()
    again.close()


def test_a_new_server_starts_nothing_anew_that_lives(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    again = engine_of(fake.address)
    submit(again, (1,))
    report(again, 1, 2)
    assert again.starts(ID, 2) == (1, 2)
    again.close()


def test_a_driver_is_known_by_its_jobs_log(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    proof = hashlib.sha256(b"its secret").hexdigest()
    assert not engine.is_driver(ID, proof)
    fake.logs[ID] = f"Running entrypoint for job\nopengrid driver {proof}\n"
    assert engine.is_driver(ID, proof)
    assert not engine.is_driver(ID, hashlib.sha256(b"another").hexdigest())
    assert not engine.is_driver("unknown-1", proof)


def test_what_is_stopped_by_force_while_the_cluster_is_silent_is_given_up_and_stopped_later(
    fake: FakeRay, engine: RayEngine
) -> None:
    submit(engine)
    report(engine, 1, 1)
    fake.stop()
    engine.cancel(ID, 2)
    assert gone(engine) == ALL
    fake.start()
    wait_until(lambda: fake.jobs[ID]["status"] == "STOPPED")


def test_a_submission_of_whose_success_nobody_heard_is_one(fake: FakeRay, engine: RayEngine) -> None:
    fake.lose_posts = 1
    submit(engine)
    assert (fake.posts, gone(engine)) == (1, frozenset())


def test_a_stop_that_ray_refuses_is_carried_out_when_it_does_not(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    fake.token = "another one now"
    engine.cancel(ID, 2)
    assert gone(engine) == ALL
    fake.token = None
    wait_until(lambda: fake.jobs[ID]["status"] == "STOPPED")


def test_a_server_knows_whether_it_has_heard_of_a_gang(fake: FakeRay, engine: RayEngine) -> None:
    submit(engine)
    assert not engine.has_report(ID)
    report(engine, 1, 1)
    assert engine.has_report(ID)
    again = engine_of(fake.address)
    assert not again.has_report(ID)
    again.close()
