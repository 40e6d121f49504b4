"""Which checkpoint an experiment goes on from, on a real store with real files."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.protocol import ArtifactFile, Restore
from opengrid.core.records.attempts import AttemptState, GenerationPhase
from opengrid.services.agent_memory import AgentIdentity
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
        self.artifacts = Artifacts(
            self.database,
            folder / "artifacts",
            FolderBlobs(folder / "artifacts" / "contents"),
            now_us=lambda: T0,
        )
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
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


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


def zipped(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, b"x")
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", bytes(range(64)), zipped("train/1.png"), pickle.dumps({"optimizer": 1})])
def test_a_bin_file_that_torch_did_not_write_is_no_checkpoint(world: World, content: bytes) -> None:
    world.save("tokens/data.bin", content, 5)
    assert world.restore() == Restore()
    world.save("model.pt", WEIGHTS, 1)
    found = world.restore()
    assert (found.checkpoint, found.aside, world.notes) == ("model.pt", (), [])


@pytest.mark.parametrize("is_old", [False, True])
def test_a_bin_file_that_torch_wrote_is_a_checkpoint(world: World, tmp_path: Path, is_old: bool) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"optimizer": {}, "w": torch.zeros(3)}, tmp_path / "x", _use_new_zipfile_serialization=not is_old)
    world.save("state.bin", (tmp_path / "x").read_bytes(), 5)
    assert world.restore().checkpoint == "state.bin"


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


def pieces_of(folder: Path) -> dict[str, bytes]:
    """Return the files of a real sharded checkpoint, saved by one process."""
    torch = pytest.importorskip("torch")
    import torch.distributed.checkpoint as dcp

    dcp.save({"w": torch.arange(10_000.0), "b": torch.ones(3), "step": 5}, checkpoint_id=folder, no_dist=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cut(content: bytes) -> bytes:
    return content[:-1]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def zeroed(content: bytes) -> bytes:
    return content[:100] + bytes(len(content) - 100)


# Not a flipped bit in the index: a pickle has no checksum, and may be a valid one with it.
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("__0_0.distcp", cut),
        ("__0_0.distcp", flipped),
        ("__0_0.distcp", zeroed),
        (".metadata", cut),
        (".metadata", zeroed),
    ],
)
@pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
def test_damage_to_a_sharded_checkpoint_of_torch_is_seen(
    world: World, tmp_path: Path, name: str, damage: Callable[[bytes], bytes]
) -> None:
    files = pieces_of(tmp_path / "sharded")
    assert {".metadata", "__0_0.distcp"} == set(files)
    for step in (3, 6):
        for piece, content in files.items():
            spoilt = damage(content) if (step, piece) == (6, name) else content
            world.save(f"sharded/{step}/{piece}", spoilt, step)
    found = world.restore()
    assert (found.checkpoint, found.aside) == ("sharded/3", ("sharded/6",))
    assert len(world.notes) == 1
    assert world.notes[0].startswith("checkpoint sharded/6 is not used: ")


@pytest.mark.parametrize("damage", [cut, flipped, zeroed])
def test_damage_to_a_file_of_torch_is_seen(world: World, damage: Callable[[bytes], bytes]) -> None:
    torch = pytest.importorskip("torch")
    buffer = io.BytesIO()
    torch.save({"optimizer": torch.nn.Linear(100, 100).state_dict()}, buffer)
    world.save("a.pt", buffer.getvalue(), 1)
    world.save("b.pt", damage(buffer.getvalue()), 2)
    found = world.restore()
    assert (found.checkpoint, found.aside) == ("a.pt", ("b.pt",))


def test_another_attempt_goes_without_what_is_gone_and_says_so(world: World) -> None:
    world.save("last.pt", STATE, 2)
    world.save("log.txt", b"gone", 1)
    digest = hashlib.sha256(b"gone").hexdigest()
    next(Path(world.artifacts.staging_folder("x", 0)).parents[1].rglob(digest)).unlink()
    assert [file.path for file in world.restore(generation=1, number=2).files] == ["last.pt"]
    assert world.notes == ["not put back, for the content is gone: log.txt"]


def test_many_files_of_predictions_do_not_hide_a_checkpoint(world: World) -> None:
    world.save("last.ckpt", LIGHTNING, 1)
    for number in range(100):
        world.save(f"predictions/{number}.pt", saved("logits", str(number)), 2 + number)
    assert world.restore().checkpoint == "last.ckpt"


def test_lightning_is_not_told_of_weights_alone_for_it_would_refuse_them(world: World) -> None:
    world.save("weights.ckpt", saved("pytorch-lightning_version", "state_dict", "optim_progress", "optimizer"), 1)
    found = world.restore()
    assert (found.checkpoint, found.is_lightning) == ("weights.ckpt", False)


def test_deepspeeds_word_for_the_newest_is_the_one_that_is_put_back(world: World) -> None:
    for step in (3, 6):
        for rank in range(8 if step == 3 else 7):
            world.save(f"ds/global_step{step}/zero_pp_rank_{rank}_mp_rank_00_optim_states.pt", STATE, step)
        world.save(f"ds/global_step{step}/mp_rank_00_model_states.pt", STATE, step)
    world.save("ds/latest", b"global_step6", 6)
    found = world.restore()
    assert (found.checkpoint, found.aside) == ("ds/global_step3", ("ds/global_step6",))
    assert [file.text for file in found.files if file.path == "ds/latest"] == ["global_step3"]


def test_a_model_of_transformers_is_whole_with_all_its_shards(world: World) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    index = json.dumps({"weight_map": {"a.weight": shards[0], "b.weight": shards[1]}}).encode()
    empty = b"\2\0\0\0\0\0\0\0{}"
    for step in (3, 6, 9):
        world.save(f"out/checkpoint-{step}/model.safetensors.index.json", index, step)
        for shard in shards[: 1 if step == 6 else 2]:
            world.save(f"out/checkpoint-{step}/{shard}", empty, step)
        world.save(f"out/checkpoint-{step}/trainer_state.json", b'{"global_step": 1' + b"}" * (step != 9), step)
    found = world.restore()
    assert (found.checkpoint, found.aside) == ("out/checkpoint-3", ("out/checkpoint-9", "out/checkpoint-6"))
    assert "trainer_state.json is torn" in world.notes[0]
    assert world.notes[1].endswith(f"1 of its pieces are missing, such as {shards[1]}")
