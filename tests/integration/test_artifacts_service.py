"""The server's side of artifacts on a real store and folder: fences, verification, and what is removed when."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_artifact, make_attempt, make_experiments, make_machines, make_run

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.errors import InvalidValue, NotFound, Superseded, Unusable
from opengrid.core.protocol import MOST_ARTIFACTS, ArtifactFile, Wanted
from opengrid.core.records.attempts import AttemptState, GenerationPhase
from opengrid.core.records.experiments import Experiment
from opengrid.core.records.removals import RunRemoval
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.artifacts import Artifacts
from opengrid.store.database import Database


def file(path: str, content: bytes, node: int = 0) -> ArtifactFile:
    return ArtifactFile(
        node=node, path=path, size=len(content), sha256=hashlib.sha256(content).hexdigest(), modified_us=T0
    )


class World:
    """Two experiments of a run, each with an attempt on two machines."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        self.artifacts = Artifacts(
            self.database,
            folder / "artifacts",
            FolderBlobs(folder / "artifacts" / "contents"),
            now_us=lambda: T0,
        )
        run = make_run()
        self.experiments = make_experiments(run, 2)
        with self.database.transaction() as tx:
            tx.runs.create(run, self.experiments, T0)
            for experiment in self.experiments:
                attempt = make_attempt(experiment, state=AttemptState.RUNNING, phase=GenerationPhase.RUNNING)
                tx.attempts.create(attempt, make_machines(attempt))

    def agent(self, experiment: int = 0, machine: int = 0) -> AgentIdentity:
        return AgentIdentity(attempt_id=f"{self.experiments[experiment].id}-1", machine=machine)

    def send(self, content: bytes, agent: AgentIdentity) -> None:
        digest = hashlib.sha256(content).hexdigest()
        with self.artifacts.receiving(agent, digest, len(content)) as writer:
            writer.write(content)

    def save(self, path: str, content: bytes, experiment: int = 0, machine: int = 0) -> None:
        agent, offered = self.agent(experiment, machine), [file(path, content, machine)]
        if self.artifacts.offer(agent, offered).contents:
            self.send(content, agent)
        assert self.artifacts.offer(agent, offered).contents == ()

    def content(self, path: str, experiment: int = 0, node: int = 0) -> bytes:
        wanted = make_artifact(self.experiments[experiment].id, path, node=node)
        return self.artifacts.find(self.experiments[experiment].name, wanted.id)[1].read_bytes()

    def stored(self, folder: Path) -> set[bytes]:
        return {p.read_bytes() for p in (folder / "artifacts" / "contents").rglob("*") if p.is_file()}

    def delete(self, experiment: Experiment) -> None:
        with self.database.transaction() as tx:
            removal = RunRemoval(id=experiment.id, contents=tuple(tx.artifacts.digests([experiment.id])))
            tx.runs.delete_experiment(experiment.id)
        self.artifacts.remove_contents(removal)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


def test_a_file_is_recorded_only_when_its_content_is_here(world: World) -> None:
    offered = file("x", b"content")
    assert world.artifacts.offer(world.agent(), [offered]).contents == (offered.sha256,)
    assert world.artifacts.list(world.experiments[0].name, limit=9, offset=0) == ([], 0, 0)
    world.send(b"content", world.agent())
    assert world.artifacts.offer(world.agent(), [offered]).contents == ()
    assert world.content("x") == b"content"


def test_the_same_content_of_two_nodes_is_asked_for_and_stored_once(world: World, tmp_path: Path) -> None:
    world.save("x", b"same")
    assert world.artifacts.offer(world.agent(0, 1), [file("x", b"same", node=1)]).contents == ()
    assert world.content("x", node=1) == b"same"
    assert world.stored(tmp_path) == {b"same"}


def test_of_two_machines_with_the_same_content_one_brings_it(world: World, tmp_path: Path) -> None:
    here, there = file("x", b"same"), file("y", b"same", node=1)
    assert world.artifacts.offer(world.agent(0, 0), [here]).contents == (here.sha256,)
    told = world.artifacts.offer(world.agent(0, 1), [there])
    assert (told.contents, told.coming) == ((), (here.sha256,))
    world.send(b"same", world.agent(0, 0))
    assert world.artifacts.offer(world.agent(0, 0), [here]) == Wanted(contents=())
    assert world.artifacts.offer(world.agent(0, 1), [there]) == Wanted(contents=())
    assert world.content("y", node=1) == b"same"
    assert world.stored(tmp_path) == {b"same"}


def test_a_newer_version_is_served_and_the_older_ones_space_is_freed(world: World, tmp_path: Path) -> None:
    world.save("x", b"old")
    world.save("also", b"old")
    world.save("x", b"new")
    assert (world.content("x"), world.content("also")) == (b"new", b"old")
    world.save("also", b"newer")
    assert world.stored(tmp_path) == {b"new", b"newer"}
    wanted = make_artifact(world.experiments[0].id, "x")
    with pytest.raises(NotFound, match="x has changed meanwhile"):
        world.artifacts.find(world.experiments[0].name, wanted.id, hashlib.sha256(b"old").hexdigest())


def test_the_servers_own_record_lies_among_an_experiments_artifacts_and_makes_way_for_the_scripts_file(
    world: World, tmp_path: Path
) -> None:
    id, name = world.experiments[0].id, world.experiments[0].name
    world.artifacts.keep_records({id: b"first", world.experiments[1].id: b"another"})
    world.artifacts.keep_records({id: b"record"})
    listed = world.artifacts.all(name)
    assert [(one.path, one.node, one.is_record, world.content("run.json")) for one in listed] == [
        ("run.json", 0, True, b"record")
    ]
    world.save("run.json", b"the script's")
    world.artifacts.keep_records({id: b"of the next attempt"})
    assert (world.content("run.json"), world.content("run.grid.json")) == (b"the script's", b"of the next attempt")
    assert [(one.path, one.is_record) for one in world.artifacts.all(name)] == [
        ("run.grid.json", True),
        ("run.json", False),
    ]
    assert world.stored(tmp_path) == {b"the script's", b"of the next attempt", b"another"}


def test_a_record_that_comes_after_the_scripts_file_of_that_name_leaves_it(world: World) -> None:
    world.save("run.json", b"the script's")
    world.artifacts.keep_records({world.experiments[0].id: b"record"})
    assert (world.content("run.json"), world.content("run.grid.json")) == (b"the script's", b"record")


def test_the_servers_record_is_lost_to_no_name_that_a_script_chooses(world: World) -> None:
    world.artifacts.keep_records({world.experiments[0].id: b"record"})
    for path in ("run.grid.json", "run.json", "run.grid.2.json"):
        world.save(path, path.encode())
    world.artifacts.keep_records({world.experiments[0].id: b"of the next attempt"})
    found = {one.path: world.content(one.path) for one in world.artifacts.all(world.experiments[0].name)}
    assert found == {
        "run.json": b"run.json",
        "run.grid.json": b"run.grid.json",
        "run.grid.2.json": b"run.grid.2.json",
        "run.grid.3.json": b"of the next attempt",
    }


def test_nothing_half_done_is_kept_of_an_attempt_that_is_over(world: World) -> None:
    offered, staging = file("x", b"content"), world.artifacts.staging_folder(world.agent().attempt_id, 0)
    (staging / "half").write_bytes(b"con")
    world.artifacts.offer(world.agent(), [offered])
    world.artifacts.forget(world.agent().attempt_id)
    assert not staging.exists()
    assert world.artifacts.offer(world.agent(0, 1), [file("x", b"content", node=1)]).contents == (offered.sha256,)


def test_contents_go_with_the_last_experiment_that_has_them(world: World, tmp_path: Path) -> None:
    world.save("shared", b"shared")
    world.save("own", b"own")
    world.save("shared", b"shared", experiment=1)
    world.delete(world.experiments[0])
    assert world.stored(tmp_path) == {b"shared"}
    world.delete(world.experiments[1])
    assert world.stored(tmp_path) == set()


def test_what_is_staged_is_verified_and_taken_away(world: World, tmp_path: Path) -> None:
    staging, offered = world.artifacts.staging_folder(world.agent().attempt_id, 0), file("x", b"right")
    for wrong in (b"wrong", b""):
        (staging / offered.sha256).write_bytes(wrong)
        assert world.artifacts.offer(world.agent(), [offered]).contents == (offered.sha256,)
        assert list(staging.iterdir()) == []
    outside = tmp_path / "outside"
    outside.write_bytes(b"right")
    (staging / offered.sha256).symlink_to(outside)
    assert world.artifacts.offer(world.agent(), [offered]).contents == (offered.sha256,)
    (staging / offered.sha256).write_bytes(b"right")
    assert world.artifacts.offer(world.agent(), [offered]).contents == ()
    assert world.content("x") == b"right"
    assert list(staging.iterdir()) == []
    assert outside.exists()


def test_what_arrives_damaged_is_refused(world: World, tmp_path: Path) -> None:
    with (
        pytest.raises(InvalidValue, match="have SHA-256"),
        world.artifacts.receiving(world.agent(), "0" * 64, 5) as writer,
    ):
        writer.write(b"wrong")
    assert world.stored(tmp_path) == set()


def test_an_agent_whose_attempt_is_over_is_told_so(world: World) -> None:
    with world.database.transaction() as tx:
        tx.attempts.move(tx.attempts.find(world.agent().attempt_id), now_us=T0, to=AttemptState.LOST)
    stranger = AgentIdentity(attempt_id="nobody-1", machine=0)
    for agent in (world.agent(), stranger):
        with pytest.raises(Superseded):
            world.artifacts.offer(agent, [file("x", b"x")])
        with pytest.raises(Superseded):
            world.send(b"x", agent)


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "./a", "a/", "nul\0", "x" * 20_000])
def test_a_path_that_is_none_is_refused(world: World, path: str) -> None:
    with pytest.raises(InvalidValue):
        world.artifacts.offer(world.agent(), [file(path, b"x")])


def test_an_agent_speaks_for_its_own_nodes_and_not_for_too_many_files(world: World) -> None:
    with pytest.raises(InvalidValue, match="node 1 is none of machine 0"):
        world.artifacts.offer(world.agent(), [file("x", b"x", node=1)])
    with pytest.raises(InvalidValue, match="at most"):
        world.artifacts.offer(world.agent(), [file("x", b"x")] * (MOST_ARTIFACTS + 1))
    with pytest.raises(InvalidValue):
        world.artifacts.offer(world.agent(), [dataclasses.replace(file("x", b"x"), sha256="../../grid.db")])


def test_a_content_that_would_fill_the_disk_is_refused(world: World) -> None:
    with (
        pytest.raises(Unusable, match="no space left for"),
        world.artifacts.receiving(world.agent(), "0" * 64, 1 << 60),
    ):
        pass
