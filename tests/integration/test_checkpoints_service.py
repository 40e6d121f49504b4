"""Which checkpoint an experiment goes on from, on a real store with real files."""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.core.protocol import ArtifactFile, Restore
from opengrid.core.records import AttemptState, GenerationPhase
from opengrid.services.agents import AgentIdentity
from opengrid.services.artifacts import Artifacts
from opengrid.services.checkpoints import Checkpoints
from opengrid.store.database import Database


def saved(*words: str) -> bytes:
    """Return a zip file like torch.save's, whose pickle holds these words."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(dict.fromkeys(words, 1), protocol=2))
        archive.writestr("archive/data/0", b"x" * 500)
    return buffer.getvalue()


STATE, WEIGHTS = saved("model", "optimizer", "step"), saved("layer.weight", "layer.bias")
LIGHTNING = saved("pytorch-lightning_version", "state_dict", "optimizer_states")
PIECES = [f"__{rank}_0.distcp" for rank in range(8)]


class World:
    """An experiment on two machines of four ranks each, and the files that they have saved."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(f"sqlite:///{folder / 'grid.db'}")
        self.artifacts = Artifacts(self.database, folder / "artifacts", now_us=lambda: T0)
        self.checkpoints = Checkpoints(self.database, self.artifacts, now_us=lambda: T0)
        run = make_run()
        (self.experiment,) = make_experiments(run)
        running = {"state": AttemptState.RUNNING, "generation": 2, "phase": GenerationPhase.PREPARING}
        self.attempt = make_attempt(self.experiment, **running)
        with self.database.transaction() as tx:
            tx.runs.create(run, [self.experiment], T0)
            tx.attempts.create(self.attempt, make_machines(self.attempt))

    def save(self, path: str, content: bytes, at: int, node: int = 0) -> None:
        """Have a node's agent save a file that was written at a second."""
        agent = AgentIdentity(attempt_id=self.attempt.id, machine=node)
        digest = hashlib.sha256(content).hexdigest()
        offer = ArtifactFile(node=node, path=path, size=len(content), sha256=digest, modified_us=T0 + at * 1_000_000)
        if self.artifacts.offer(agent, [offer]).contents:
            with self.artifacts.receiving(agent, digest, len(content)) as writer:
                writer.write(content)
            assert self.artifacts.offer(agent, [offer]).contents == ()

    def sharded(self, folder: str, at: int, *, without: str = "") -> None:
        """Have all ranks save a piece each, and rank 0 the index."""
        for rank, piece in enumerate(PIECES):
            if piece != without:
                self.save(f"{folder}/{piece}", b"piece of %d at %d" % (rank, at), at, node=rank // 4)
        self.save(f"{folder}/.metadata", pickle.dumps(PIECES), at)

    def restore(self, **attempt: object) -> Restore:
        """Return what is found, for the second generation unless said otherwise."""
        return self.checkpoints.restore(make_attempt(self.experiment, **{"generation": 2, **attempt}))

    @property
    def notes(self) -> list[str]:
        with self.database.read() as tx:
            return [event.reason for event in tx.runs.events(self.experiment.id) if event.kind == "note"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def contents(restore: Restore) -> dict[tuple[int | None, str], bytes]:
    return {(file.node, file.path): Path(file.source or "").read_bytes() for file in restore.files}


def test_an_experiment_that_saved_nothing_begins_anew(world: World) -> None:
    world.save("log.txt", b"x", 1)
    assert world.restore() == Restore()


def test_the_newest_of_all_nodes_goes_to_every_node(world: World) -> None:
    world.save("old.pt", STATE, 1, node=1)
    world.save("last.pt", saved("optimizer", "older"), 5)
    world.save("last.pt", saved("optimizer", "newer"), 6, node=1)
    found = world.restore()
    assert (found.checkpoint, found.is_lightning, found.aside) == ("last.pt", False, ())
    assert contents(found) == {(None, "last.pt"): saved("optimizer", "newer")}
    assert found.files[0].modified_us == T0 + 6_000_000
    assert world.notes == []


def test_lightnings_files_are_told_from_others(world: World) -> None:
    world.save("lightning_logs/version_0/checkpoints/epoch=0-step=9.ckpt", LIGHTNING, 1)
    assert world.restore().is_lightning


def test_torn_ones_are_skipped_and_said(world: World) -> None:
    world.save("a.ckpt", STATE, 1)
    world.save("b.ckpt", STATE[:-40], 2, node=1)
    world.save("c.ckpt", b"", 3)
    world.save("d.safetensors", b"\x40\0\0\0\0\0\0\0{", 4)
    assert world.restore().checkpoint == "a.ckpt"
    torn = [note.partition(":")[0] for note in world.notes]
    assert torn == [f"checkpoint {name} is not used" for name in ("d.safetensors", "c.ckpt", "b.ckpt")]


def test_weights_alone_are_a_last_resort(world: World) -> None:
    world.save("state.pt", STATE, 1)
    world.save("best_weights.pt", WEIGHTS, 9)
    assert world.restore().checkpoint == "state.pt"


def test_the_newest_weights_count_where_there_is_nothing_else(world: World) -> None:
    world.save("older.pt", WEIGHTS, 1)
    world.save("newer.pt", saved("x", "step"), 2)
    assert world.restore().checkpoint == "newer.pt"


def test_pieces_on_different_nodes_are_whole_with_all_that_the_index_names(world: World) -> None:
    world.sharded("checkpoints/3", 3)
    found = world.restore()
    assert found.checkpoint == "checkpoints/3"
    assert {path for _, path in contents(found)} == {f"checkpoints/3/{name}" for name in (*PIECES, ".metadata")}
    assert {node for node, _ in contents(found)} == {None}


@pytest.mark.parametrize(
    ("without", "why"),
    [
        ("__6_0.distcp", "1 of its pieces are missing, such as __6_0.distcp"),
        (".metadata", "its .metadata is missing"),
    ],
)
def test_a_folder_that_lacks_something_is_skipped_said_and_set_aside(world: World, without: str, why: str) -> None:
    world.sharded("checkpoints/3", 3)
    if without == ".metadata":
        world.save("checkpoints/6/__0_0.distcp", b"x", 6)
    else:
        world.sharded("checkpoints/6", 6, without=without)
    found = world.restore()
    assert (found.checkpoint, found.aside) == ("checkpoints/3", ("checkpoints/6",))
    assert world.notes == [f"checkpoint checkpoints/6 is not used: {why}"]


def test_an_index_that_is_cut_is_no_index(world: World) -> None:
    world.sharded("checkpoints/3", 3)
    world.sharded("checkpoints/6", 6)
    world.save("checkpoints/6/.metadata", pickle.dumps(PIECES)[:-30], 6)
    assert world.restore().checkpoint == "checkpoints/3"
    assert world.notes[0].startswith("checkpoint checkpoints/6 is not used: it cannot be read")


def test_what_was_set_aside_before_is_no_candidate_again(world: World) -> None:
    world.save("last.pt", STATE, 1)
    world.save("checkpoints/6.incomplete/__0_0.distcp", b"x", 6)
    world.save("step.pt.incomplete", STATE[:-40], 7)
    found = world.restore()
    assert (found.checkpoint, found.aside, world.notes) == ("last.pt", (), [])


def test_a_file_whose_content_is_gone_is_skipped_and_said(world: World) -> None:
    world.save("old.pt", STATE, 1)
    world.save("new.pt", LIGHTNING, 2)
    digest = hashlib.sha256(LIGHTNING).hexdigest()
    next(Path(world.artifacts.staging_folder("x", 0)).parents[1].rglob(digest)).unlink()
    assert world.restore().checkpoint == "old.pt"
    assert world.notes[0].startswith("checkpoint new.pt is not used: it cannot be read")


def test_another_attempt_gets_every_file_of_each_node_too_because_its_folders_are_new(world: World) -> None:
    world.save("last.pt", STATE, 2)
    for node in (0, 1):
        world.save("log.txt", b"of node %d" % node, 1, node=node)
    found = world.restore(generation=1, number=2)
    assert found.checkpoint == "last.pt"
    assert contents(found) == {
        (None, "last.pt"): STATE,
        (0, "log.txt"): b"of node 0",
        (1, "log.txt"): b"of node 1",
    }
