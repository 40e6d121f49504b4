"""What a machine puts back before ranks start, from a server with and without a shared disk."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.agents import AgentBench
from tests.support.gang_server import GangServer

from opengrid.core.errors import InvalidValue, Unusable
from opengrid.core.protocol import Assignment, Restore, RestoreFile, Ticket
from opengrid.node.link import Channel, ServerAddress
from opengrid.node.restoring import put_back


def saved(content: bytes) -> bytes:
    """Return a zip file, which is what torch.save writes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("archive/data/0"), content)  # without a time: equal however often it is made
    return buffer.getvalue()


def torn(content: bytes) -> bytes:
    whole = saved(content)
    return whole[: len(whole) // 2]


class Machine:
    """Machine 0 of two, which has nodes 0 and 1 with a folder each."""

    def __init__(self, folder: Path, server: GangServer, assignment: Assignment) -> None:
        self.folder, self.server, self.assignment = folder, server, assignment
        self.nodes = [folder / "work" / f"node{index}" for index in (0, 1)]
        for node in self.nodes:
            node.mkdir(parents=True)
        server.sessions["secret"] = 0
        ticket = Ticket(attempt_id="e1-1", machine=0, token="", server_file=str(server.server_file), state_dir="")
        self._channel = Channel(ServerAddress(ticket), "secret")
        self.hashed: list[Path] = []

    def file(self, path: str, content: bytes, *, node: int | None = None, disk: bool = False) -> RestoreFile:
        """Return a file that the server has."""
        digest = hashlib.sha256(content).hexdigest()
        self.server.contents[digest] = content
        source = self.folder / digest
        if disk:
            source.write_bytes(content)
        return RestoreFile(
            node=node,
            path=path,
            size=len(content),
            sha256=digest,
            modified_us=1_767_225_600_123_457,
            source=str(source) if disk else None,
        )

    def put_back(self, restore: Restore, known: Callable[[Path], str | None] = lambda _: None) -> tuple[str, ...]:
        self.server.restores[2] = restore
        got, notes = put_back(
            self.assignment, 2, self._channel, digest_of=known, before=lambda _: frozenset({"own.pt"})
        )
        assert got == restore
        return notes

    def tree(self, node: int) -> dict[str, bytes]:
        root = self.nodes[node]
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def machine(bench: AgentBench) -> Iterator[Machine]:
    bench.assign("pass", nodes=2)
    bench.server.start()
    yield Machine(bench.folder, bench.server, bench.server.assignments[0])
    bench.server.kill()


@pytest.mark.parametrize("disk", [True, False], ids=["shared disk", "http"])
def test_a_checkpoint_comes_to_every_node_and_other_files_to_their_own(machine: Machine, disk: bool) -> None:
    restore = Restore(
        checkpoint="a/b/last.ckpt",
        files=(
            machine.file("a/b/last.ckpt", saved(b"1"), disk=disk),
            machine.file("own.log", b"of node 1", node=1, disk=disk),
            machine.file("elsewhere.log", b"of node 2", node=2, disk=disk),
        ),
    )
    assert machine.put_back(restore) == ()
    assert machine.tree(0) == {"a/b/last.ckpt": saved(b"1")}
    assert machine.tree(1) == {"a/b/last.ckpt": saved(b"1"), "own.log": b"of node 1"}
    # To the microsecond: which of two checkpoints is newer must not change by being put back.
    assert (machine.nodes[0] / "a/b/last.ckpt").stat().st_mtime_ns == 1_767_225_600_123_457_000


def test_what_lies_there_as_it_should_be_is_left_alone(machine: Machine) -> None:
    target = machine.nodes[0] / "last.pt"
    target.write_bytes(saved(b"1"))
    before = target.stat()
    file = machine.file("last.pt", saved(b"1"), node=0)
    machine.server.contents.clear()  # nobody has it any more, and nobody needs it
    machine.put_back(Restore(checkpoint="last.pt", files=(file,)))
    asked: list[Path] = []

    def known(path: Path) -> str:
        asked.append(path)
        return file.sha256

    machine.put_back(Restore(checkpoint="last.pt", files=(file,)), known)
    assert asked == [target]
    assert (target.stat().st_ino, target.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_another_version_is_replaced_whole_and_a_torn_one_is_said(machine: Machine) -> None:
    for node, content in zip(machine.nodes, (saved(b"newer"), torn(b"newer" * 99)), strict=True):
        (node / "last.pt").write_bytes(content)
    os.link(machine.nodes[0] / "last.pt", machine.folder / "kept")
    notes = machine.put_back(Restore(checkpoint="last.pt", files=(machine.file("last.pt", saved(b"whole")),)))
    assert machine.tree(0) == machine.tree(1) == {"last.pt": saved(b"whole")}
    assert (machine.folder / "kept").read_bytes() == saved(b"newer"), "it was not written into"
    (note,) = notes
    assert note.startswith("last.pt was torn")


def test_torn_files_and_incomplete_folders_are_set_aside_generation_after_generation(machine: Machine) -> None:
    restore = Restore(aside=("checkpoints/9",))
    for generation in (b"first", b"second"):
        (machine.nodes[1] / "checkpoints/9").mkdir(parents=True)
        (machine.nodes[1] / "checkpoints/9/__0_0.distcp").write_bytes(generation)
        (machine.nodes[1] / "step.pt").write_bytes(torn(generation * 99))
        notes = machine.put_back(restore)
        assert len(notes) == 2
        assert notes[0] == "checkpoints/9 is not used: renamed to checkpoints/9.incomplete"
        assert notes[1].startswith("step.pt is torn")
        assert machine.tree(1) == {
            "checkpoints/9.incomplete/__0_0.distcp": generation,
            "step.pt.incomplete": torn(generation * 99),
        }
    assert machine.put_back(restore) == ()


def test_a_damaged_content_or_a_folder_in_its_place_is_refused_and_nothing_half_made_stays(machine: Machine) -> None:
    file = machine.file("last.pt", saved(b"1"))
    machine.server.contents[file.sha256] = b"damaged"
    with pytest.raises(InvalidValue, match=r"last\.pt came with SHA-256"):
        machine.put_back(Restore(checkpoint="last.pt", files=(file,)))
    assert machine.tree(0) == {}
    machine.server.contents[file.sha256] = saved(b"1")
    (machine.nodes[0] / "last.pt").mkdir()
    with pytest.raises(Unusable, match=r"last\.pt is a folder"):
        machine.put_back(Restore(checkpoint="last.pt", files=(file,)))


def test_no_path_leads_out_of_the_work_folder(machine: Machine) -> None:
    with pytest.raises(InvalidValue):
        machine.put_back(Restore(files=(machine.file("../out.pt", b"x"),)))
    assert not (machine.folder / "work/out.pt").exists()


def test_lost_answers_and_an_absent_server_only_delay(machine: Machine) -> None:
    machine.server.lose = {"restore": 2, "contents": 2}
    machine.put_back(Restore(checkpoint="last.pt", files=(machine.file("last.pt", saved(b"1")),)))
    assert machine.tree(0) == machine.tree(1) == {"last.pt": saved(b"1")}


def test_what_the_user_brought_is_left_alone_however_torn_it_looks(machine: Machine) -> None:
    (machine.nodes[0] / "own.pt").touch()
    assert machine.put_back(Restore()) == ()
    assert machine.tree(0) == {"own.pt": b""}


def test_a_text_that_is_no_artifact_is_written(machine: Machine) -> None:
    text = "global_step3"
    file = dataclasses.replace(machine.file("ds/latest", text.encode()), text=text)
    machine.server.contents.clear()
    machine.put_back(Restore(checkpoint="ds/global_step3", files=(file,)))
    assert machine.tree(0) == machine.tree(1) == {"ds/latest": b"global_step3"}
