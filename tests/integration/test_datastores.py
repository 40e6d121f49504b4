"""Datastores from a folder to the tree that scripts see: sent once, resumed, verified, deleted; and bad sources."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.records import T0, make_experiments, make_run
from tests.support.server_app import InProcess, running_app

from opengrid.blobs.folder import FolderBlobs
from opengrid.client import links, parts
from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.documents import DatastoreRow, OfferedFile
from opengrid.client.transfer import Sender, find_material
from opengrid.core.errors import Conflict, Forbidden, GridError, InvalidValue, NotFound, Unusable
from opengrid.core.files import file_digest
from opengrid.core.records.experiments import ExperimentState
from opengrid.core.tokens import token_hash
from opengrid.server.app import Server
from opengrid.services.trees import Trees
from opengrid.store.database import Database

MIB = 1 << 20


class World:
    """A server in this process, and a folder to make datastores of."""

    def __init__(self, folder: Path, api: Api, transport: InProcess, server: Server) -> None:
        self.folder, self.api, self.transport, self.server = folder, api, transport, server
        self.source = folder / "source"
        self.source.mkdir()
        self.read: list[tuple[float, float]] = []
        self.staging: str | None = None  #: what the client is told instead of the true folder
        self.upload: str | None = None

    @property
    def root(self) -> Path:
        return self.folder / "home" / "datastores"

    def write(self, path: str, content: bytes | str = "x") -> Path:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def create(self, source: Path | None = None, name: str = "data", *, again: bool = False) -> DatastoreRow:
        """Send a source; with `again` go on with the upload before."""
        source = source or self.source
        material = find_material(source)
        opened = self.api.open_datastore(name, str(source), self.upload if again else None)
        self.upload = opened["upload"]
        if self.staging is not None:
            opened["staging"] = self.staging
        self.read.clear()
        with KnownDigests(self.folder / "journal") as known:
            return Sender(self.api, opened, material, known, lambda done, came: self.read.append((done, came))).run()

    def break_off(self, after: int) -> Path:
        """Send a source of one large file until so many bytes of it were copied; return the copy."""
        opened = self.api.open_datastore("data", str(self.source))
        self.upload, copied = opened["upload"], 0

        def kill(_: int, came: int) -> None:
            nonlocal copied
            copied += came
            if copied >= after:
                raise KeyboardInterrupt

        with KnownDigests(self.folder / "journal") as known, pytest.raises(KeyboardInterrupt):
            Sender(self.api, opened, find_material(self.source), known, kill).run()
        (partial,) = Path(opened["staging"]).iterdir()
        return partial

    def tree(self, version: int = 1, name: str = "data") -> dict[str, bytes]:
        """Return the files that scripts see."""
        root = self.root / name / str(version)
        return {p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def contents(self) -> set[bytes]:
        return {p.read_bytes() for p in (self.root / ".contents").rglob("*") if p.is_file()}

    def use(self, version: int, name: str = "data", state: ExperimentState = ExperimentState.RUNNING) -> None:
        """Have a run with one experiment use a version."""
        run = make_run()
        experiment = make_experiments(run, 1)[0]
        database = Database.open(f"sqlite:///{self.folder / 'home' / 'grid.db'}")
        with database.transaction() as tx:
            tx.runs.create(run, [experiment], T0)
            tx.data.use(run.id, [(name, version)])
            tx.runs.move(experiment, state, reason="", now_us=T0)
        database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    (tmp_path / "home").mkdir()
    with running_app(tmp_path / "home") as (api, transport, server):
        yield World(tmp_path, api, transport, server)


def test_a_folder_becomes_a_version_with_its_files_and_digests(world: World) -> None:
    world.write("a.txt", "a")
    world.write("deep/er/b.bin", b"b" * 3 * MIB)
    os.chmod(world.write("run.sh", "#!"), 0o755)
    made = world.create()
    assert (made["version"], made["state"], made["files"], made["size"]) == (1, "succeeded", 3, 3 * MIB + 3)
    assert world.tree() == {"a.txt": b"a", "deep/er/b.bin": b"b" * 3 * MIB, "run.sh": b"#!"}
    assert os.stat(world.root / "data/1/run.sh").st_mode & 0o777 == 0o555
    assert os.stat(world.root / "data/1/a.txt").st_mode & 0o777 == 0o444
    rows = world.api.datastore_files("data", 1, limit=2)
    assert [row["path"] for row in rows["files"]] == ["a.txt", "deep/er/b.bin"]
    assert (rows["total"], rows["size"]) == (3, 3 * MIB + 3)
    assert not list((world.root / ".staging").iterdir())


NAMES = [
    "with space",
    "~",
    "$HOME",
    "ünïcödé 数据",
    "new\nline",
    "-leading",
    "--dash=x",
    "quote'\"",
    "\\back",
    "a" * 255,
]


def test_names_of_any_kind_stay_as_they_are(world: World) -> None:
    for name in NAMES:
        world.write(f"{name}/{name}", name)
    world.create()
    assert world.tree() == {f"{name}/{name}": name.encode() for name in NAMES}
    assert sorted(row["path"] for row in world.api.datastore_files("data", 1, limit=100)["files"]) == sorted(
        f"{name}/{name}" for name in NAMES
    )


def test_a_single_file_is_a_version_of_one_file(world: World) -> None:
    file = world.write("data.tar.gz", "packed")
    world.create(file)
    assert world.tree() == {"data.tar.gz": b"packed"}


def test_an_unchanged_file_is_neither_read_nor_sent_nor_stored_again(world: World) -> None:
    for i in range(20):
        os.utime(world.write(f"f{i}", f"content {i}"), (1, 1))
    world.create()
    # Younger than the clock's tick, by their change time: those were not remembered.
    journal = world.folder / "journal"
    journal.write_text("")
    world.write("f3", "changed")
    stored = world.contents()
    world.create()
    assert world.contents() == stored | {b"changed"}
    assert world.tree(1)["f3"] == b"content 3"
    assert world.tree(2)["f3"] == b"changed"
    assert world.tree(2)["f4"] == b"content 4"


def test_a_file_that_has_not_changed_since_long_is_not_read_again(world: World, tmp_path: Path) -> None:
    file = world.write("old", "x" * 1000)
    status = file.stat()
    with KnownDigests(tmp_path / "j") as known:
        known.add("old", status, "digest")  # just written: may be written again within the tick
    with KnownDigests(tmp_path / "j") as known:
        assert known.find("old", status) is None
        aged = os.stat_result((*status[:7], 1, 1, 1), {"st_mtime_ns": 10**9, "st_ctime_ns": 10**9})
        known.add("old", aged, "digest")
    with KnownDigests(tmp_path / "j") as known:
        assert known.find("old", aged) == "digest"
        assert known.find("old", status) is None
        assert known.find("other", aged) is None
    with (tmp_path / "j").open("a") as journal:
        journal.write('["torn", [1,')
    with KnownDigests(tmp_path / "j") as known:
        assert known.find("old", aged) == "digest"


@pytest.mark.parametrize("shares_disk", [True, False])
def test_an_upload_that_was_broken_off_goes_on_and_sends_nothing_twice(world: World, shares_disk: bool) -> None:
    world.staging = None if shares_disk else "/nowhere"
    for i in range(1200):  # two offers
        world.write(f"f{i:04}", f"content {i}")
    # Opened and offered, which on one disk is all; else brought and offered, and the next only offered.
    world.transport.killed_at = len(world.transport.asked) + (2 if shares_disk else 5)
    with pytest.raises(KeyboardInterrupt):
        world.create()
    world.transport.killed_at = None
    arrived = len(world.contents())
    assert 0 < arrived < 1200
    listed = world.api.datastores()[0]
    assert (listed["state"], listed["version"]) == ("processing", 1)
    world.transport.sent = 0
    made = world.create(again=True)
    assert (made["version"], made["files"]) == (1, 1200)
    assert world.transport.sent <= (0 if shares_disk else 100 * (1200 - arrived))  # each with its digest
    assert len(world.tree()) == 1200


def test_small_files_go_together_to_a_server_whose_disk_is_elsewhere(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", MIB)
    world.staging = "/nowhere"
    for i in range(400):
        world.write(f"d{i % 7}/f{i}", f"{i:08}" * 1000)  # 3 MiB
    world.write("none", b"")
    world.write("same", world.source.joinpath("d0", "f0").read_bytes())
    before = len(world.transport.asked)
    world.create()
    sent = [path for method, path in world.transport.asked[before:] if path.endswith("/contents")]
    assert len(sent) == 4  # of 400
    assert len(world.transport.asked) - before < 12
    assert len(world.tree()) == 402
    assert world.tree()["none"] == b""
    assert world.tree()["same"] == world.tree()["d0/f0"] == b"00000000" * 1000


def test_what_is_sent_together_and_is_not_what_it_says_is_not_stored(world: World) -> None:
    opened = world.api.open_datastore("data", "/d")
    digest = hashlib.sha256(b"right").hexdigest()
    world.api.send_datastore_contents(opened, [(digest, b"wrong")])
    offered: OfferedFile = {
        "position": 0, "path": "f", "size": 5, "sha256": digest, "executable": False, "in_tree": False,
    }  # fmt: skip
    assert world.api.offer_datastore_files(opened, [offered]) == [digest]
    assert not world.contents()
    world.api.send_datastore_contents(opened, [(digest, b"right")])
    assert world.api.offer_datastore_files(opened, [offered]) == []
    with pytest.raises(InvalidValue, match="no SHA-256"):
        world.api.send_datastore_contents(opened, [("../../grid.db", b"x")])
    with pytest.raises(InvalidValue, match=r"at most 16\.0 MiB"):
        world.api.send_datastore_contents(opened, [(digest, bytes(17 * MIB))])


@pytest.mark.parametrize("shares_disk", [True, False])
def test_of_a_large_file_less_than_a_part_is_sent_again(
    world: World, shares_disk: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "PART", MIB)
    world.staging = None if shares_disk else "/nowhere"
    content = os.urandom(5 * MIB + 17)
    world.write("large", content)
    if shares_disk:
        partial = world.break_off(3 * MIB)
        before = partial.stat()
        clones = before.st_size == len(content)  # at once, by the file system
        assert clones or before.st_size == 3 * MIB
        os.link(partial, world.folder / "same")
    else:
        world.transport.killed_at = len(world.transport.asked) + 6  # opened, offered, asked, three parts
        with pytest.raises(KeyboardInterrupt):
            world.create()
        world.transport.killed_at = None
        world.transport.sent = 0
    world.create(again=True)
    assert world.tree() == {"large": content}
    if shares_disk:
        after = (world.folder / "same").stat()  # nothing was begun anew beside it, and what was there is as it was
        assert (after.st_ino, after.st_size) == (before.st_ino, len(content))
        assert clones or next(iter(world.root.rglob("large"))).stat().st_ino == before.st_ino
    else:
        assert world.transport.sent == 2 * MIB + 17


def test_a_copy_that_was_damaged_after_it_was_broken_off_is_not_believed(world: World) -> None:
    content = os.urandom(5 * MIB)
    world.write("large", content)
    with world.break_off(3 * MIB).open("r+b") as partial:
        partial.write(b"not so")
    world.create(again=True)
    assert world.tree() == {"large": content}
    assert not list((world.root / ".staging").iterdir())


def test_answers_that_are_lost_do_no_harm(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "PART", MIB)
    monkeypatch.setattr(links, "_PAUSE_S", 0.0)
    world.staging = "/nowhere"
    content = os.urandom(3 * MIB)
    world.write("large", content)
    real, tries = world.transport.request, iter(range(1000))

    def every_second_is_lost(*args: object, **kwargs: object) -> object:
        world.transport.lost = next(tries) % 2 if args[0] == "PUT" else 0
        return real(*args, **kwargs)  # type: ignore[arg-type]

    world.transport.request = every_second_is_lost  # type: ignore[method-assign,assignment]
    world.create()
    assert world.tree() == {"large": content}
    assert world.transport.sent < 2 * len(content)


def test_a_source_that_changed_between_the_tries_is_sent_as_it_is_now(world: World) -> None:
    for i in range(600):
        world.write(f"f{i:03}", f"content {i}")
    world.transport.killed_at = len(world.transport.asked) + 2
    with pytest.raises(KeyboardInterrupt):
        world.create()
    world.transport.killed_at = None
    for i in range(0, 600, 2):
        (world.source / f"f{i:03}").unlink()
    world.write("f001", "other")
    world.create(again=True)
    tree = world.tree()
    assert len(tree) == 300
    assert tree["f001"] == b"other"
    assert world.contents() == set(tree.values())  # what the first try brought alone is gone


def test_a_server_that_ended_between_the_tries_makes_the_tree_of_all_files(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with running_app(home) as started:
        world = World(tmp_path, *started)
        for i in range(600):
            world.write(f"d{i % 7}/f{i:03}", f"content {i}")
        world.transport.killed_at = len(world.transport.asked) + 2
        with pytest.raises(KeyboardInterrupt):
            world.create()
    with running_app(home) as (world.api, world.transport, world.server):
        world.create(again=True)
    assert world.tree() == {f"d{i % 7}/f{i:03}": f"content {i}".encode() for i in range(600)}
    contents = FolderBlobs(world.root / ".contents")
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    with database.read() as tx:
        assert Trees(world.root, contents, has_mounts=lambda: True).is_untouched(tx.data.find("data", 1))
    database.close()


def test_two_creates_of_one_name_at_once_both_get_a_version(world: World) -> None:
    world.write("a", "same")
    other = world.folder / "other"
    other.mkdir()
    (other / "b").write_text("same")
    first = world.api.open_datastore("data", str(world.source))
    made = world.create(other)
    assert (first["version"], made["version"]) == (1, 2)
    world.upload = first["upload"]
    assert world.create(again=True)["version"] == 1
    assert world.tree(1) == {"a": b"same"}
    assert world.tree(2) == {"b": b"same"}


def test_an_upload_that_another_command_took_over_is_refused(world: World) -> None:
    world.write("a")
    opened = world.api.open_datastore("data", str(world.source))
    world.upload = opened["upload"]
    world.create(again=True)
    with pytest.raises(Conflict, match="already succeeded"):
        world.api.offer_datastore_files(opened, [])
    assert world.api.open_datastore("data", str(world.source), opened["upload"])["version"] == 2


def test_what_is_staged_under_a_wrong_name_is_not_taken(world: World) -> None:
    file = world.write("a", "true")
    opened = world.api.open_datastore("data", str(world.source))
    digest = hashlib.sha256(b"true").hexdigest()
    (Path(opened["staging"]) / digest).write_text("fake")
    offered = {"position": 0, "path": "a", "size": 4, "sha256": digest, "executable": False}
    assert world.api.offer_datastore_files(opened, [offered]) == [digest]  # type: ignore[list-item]
    assert not list(Path(opened["staging"]).iterdir())
    assert file.exists()


@pytest.mark.parametrize(
    "paths",
    [["../a"], ["/etc"], ["a/../../b"], ["a/./b"], ["a//b"], ["a\0b"], [""], ["b", "a"], ["a", "a"], ["a", "a/b"]],
)
def test_paths_that_leave_the_tree_or_contradict_one_another_are_refused(world: World, paths: list[str]) -> None:
    opened = world.api.open_datastore("data", str(world.source))
    files = [
        {"position": i, "path": path, "size": 1, "sha256": "0" * 64, "executable": False}
        for i, path in enumerate(paths)
    ]
    with pytest.raises(InvalidValue):
        world.api.offer_datastore_files(opened, files)  # type: ignore[arg-type]


@pytest.mark.parametrize("digest", ["x", "../../../etc/passwd", "0" * 63, "0" * 65, "G" * 64])
def test_a_digest_that_is_none_names_no_file(world: World, digest: str) -> None:
    opened = world.api.open_datastore("data", str(world.source))
    with pytest.raises((InvalidValue, NotFound, GridError)):
        world.api.send_datastore_part(opened, digest, io.BytesIO(b"x"), offset=0, size=1)
    assert not list(Path(opened["staging"]).iterdir())


@pytest.mark.parametrize("size", [3, 2 << 20])
def test_a_version_that_is_deleted_while_it_is_sent_leaves_nothing(world: World, size: int) -> None:
    for number in range(50):
        world.write(f"folder{number % 5}/{number}", f"{number:03}" * (size // 3))
    opened = world.api.open_datastore("data", str(world.source))
    deleted: list[int] = []

    def progress(_: float, __: float) -> None:
        if not deleted:
            deleted.append(1)
            world.api.delete_datastore("data", None)

    with (
        KnownDigests(world.folder / "journal") as known,
        pytest.raises((Conflict, NotFound), match=r"deleted meanwhile|no datastore"),
    ):
        Sender(world.api, opened, find_material(world.source), known, progress).run()
    assert not (world.root / "data").exists()
    assert not list((world.root / ".staging").iterdir())


def make_loop(source: Path) -> None:
    (source / "folder").mkdir()
    (source / "folder" / "file").write_text("x")
    (source / "folder" / "loop").symlink_to(source)


def make_broken_link(source: Path) -> None:
    (source / "gone").symlink_to("nowhere")


def make_device(source: Path) -> None:
    (source / "null").symlink_to("/dev/null")


def make_pipe(source: Path) -> None:
    os.mkfifo(source / "pipe")


def make_socket(source: Path) -> None:
    here = os.getcwd()
    os.chdir(source)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    os.chdir(here)


def make_bytes_name(source: Path) -> None:
    (source / os.fsdecode(b"caf\xe9")).write_text("x")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_loop, "circle"),
        (lambda source: (source / "itself").symlink_to("itself"), "circle"),
        (make_broken_link, "broken link"),
        (make_device, "device"),
        (make_pipe, "no file"),
        (make_socket, "socket"),
        (make_bytes_name, "not UTF-8"),
        (lambda _: None, "empty"),
    ],
)
def test_what_cannot_be_data_is_refused_by_name_before_anything_is_sent(
    world: World, make: Callable[[Path], None], said: str
) -> None:
    make(world.source)
    with pytest.raises(InvalidValue, match=said):
        find_material(world.source)


def test_links_to_files_and_folders_are_followed(world: World) -> None:
    elsewhere = world.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "x").write_text("far")
    (world.source / "folder").symlink_to(elsewhere)
    (world.source / "file").symlink_to(elsewhere / "x")
    world.create()
    assert world.tree() == {"folder/x": b"far", "file": b"far"}


def test_a_file_that_vanishes_is_named_and_the_upload_goes_on_later(world: World) -> None:
    world.write("a", "a")
    gone = world.write("b", "b")
    material = find_material(world.source)
    gone.unlink()
    opened = world.api.open_datastore("data", str(world.source))
    with KnownDigests(world.folder / "journal") as known, pytest.raises(Unusable, match="b has vanished"):
        Sender(world.api, opened, material, known, lambda *_: None).run()
    world.upload = opened["upload"]
    assert world.create(again=True)["version"] == 1
    assert world.tree() == {"a": b"a"}


def test_a_file_that_cannot_be_read_is_named(world: World) -> None:
    world.write("secret").chmod(0)
    opened, material = world.api.open_datastore("data", str(world.source)), find_material(world.source)
    opened["staging"] = "/nowhere"
    with KnownDigests(world.folder / "journal") as known:
        sender = Sender(world.api, opened, material, known, lambda *_: None)
        me = os.geteuid()
        if me == 0:  # who may read everything
            os.seteuid(65534)
        try:
            with pytest.raises(Unusable, match="secret: Permission denied"):
                sender.run()
        finally:
            os.seteuid(me)


def test_a_file_that_keeps_changing_is_named(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    file = world.write("log", b"x" * (2 * MIB))
    ticks = iter(range(10**6))

    def grow(*_: object) -> None:
        with file.open("a") as log:
            log.write("y")
        os.utime(file, (0, next(ticks)))

    opened = world.api.open_datastore("data", str(world.source))
    with KnownDigests(world.folder / "journal") as known, pytest.raises(GridError, match="log keeps changing"):
        Sender(world.api, opened, find_material(world.source), known, grow).run()


def test_a_file_that_changes_once_is_sent_as_it_became(world: World) -> None:
    file = world.write("a", "before")
    changes = iter([b"after, and longer"])

    def change(done: int, came: int) -> None:
        content = next(changes, None)
        if content is not None:
            file.write_bytes(content)

    opened = world.api.open_datastore("data", str(world.source))
    with KnownDigests(world.folder / "journal") as known:
        Sender(world.api, opened, find_material(world.source), known, change).run()
    assert world.tree() == {"a": b"after, and longer"}


def test_a_small_file_that_changes_after_it_was_read_is_kept_as_it_was(world: World) -> None:
    file = world.write("log", "as it was")
    came = 0

    def grow(_: int, read: int) -> None:
        nonlocal came
        came += read
        if came:
            file.write_text("and now")

    opened = world.api.open_datastore("data", str(world.source))
    with KnownDigests(world.folder / "journal") as known:
        Sender(world.api, opened, find_material(world.source), known, grow).run()
    assert world.tree() == {"log": b"as it was"}
    assert world.create()["version"] == 2
    assert world.tree(2) == {"log": b"and now"}


def test_the_journal_of_digests_is_not_much_longer_than_its_files(tmp_path: Path) -> None:
    files = {f"f{number}": f"{number:064}" for number in range(100)}
    for version in range(10):
        status = os.stat_result((0, 0, 0, 0, 0, 0, version, 1, 1, 1), {"st_mtime_ns": 1, "st_ctime_ns": 1})
        with KnownDigests(tmp_path / "j") as known:
            for path, digest in files.items():
                known.add(path, status, digest)
    with KnownDigests(tmp_path / "j") as known:
        assert {path: known.find(path, status) for path in files} == files
    assert (tmp_path / "j").read_bytes().count(b"\0") <= 150


def test_holes_of_a_sparse_file_stay_holes(world: World) -> None:
    file = world.source / "sparse"
    with file.open("wb") as sparse:
        sparse.truncate(256 * MIB)
        sparse.seek(128 * MIB)
        sparse.write(b"middle")
    world.create()
    copy = world.root / "data" / "1" / "sparse"
    assert copy.stat().st_size == 256 * MIB
    assert copy.stat().st_blocks * 512 < 4 * MIB
    with copy.open("rb") as content:
        content.seek(128 * MIB)
        assert content.read(6) == b"middle"
    shutil.rmtree(world.source)


@pytest.mark.full
@pytest.mark.parametrize("shares_disk", [True, False])
def test_a_file_of_more_than_4_gib_comes_whole(world: World, shares_disk: bool) -> None:
    world.staging = None if shares_disk else "/nowhere"
    file = world.source / "large"
    with file.open("wb") as sparse:
        sparse.truncate(5 << 30)
        for at in (0, (4 << 30) - 3, (5 << 30) - 8):
            sparse.seek(at)
            sparse.write(f"{at:8x}".encode()[:8])
    made = world.create()
    assert made["size"] == 5 << 30
    copy = world.root / "data" / "1" / "large"
    assert file_digest(copy) == file_digest(file)
    if shares_disk:
        assert copy.stat().st_blocks * 512 < 4 * MIB


def test_deleting_frees_what_no_other_version_has(world: World) -> None:
    world.write("shared", "s" * 1000)
    world.write("mine", "m" * 500)
    world.create()
    (world.source / "mine").write_text("n" * 700)
    world.create()
    gone = world.api.delete_datastore("data", 1)
    assert (gone["deleted"], gone["freed"]) == ([1], 500)
    assert world.contents() == {b"s" * 1000, b"n" * 700}
    assert world.tree(1) == {}
    assert world.tree(2) == {"shared": b"s" * 1000, "mine": b"n" * 700}
    with pytest.raises(NotFound, match="no version 1"):
        world.api.datastore("data", 1)
    assert world.api.delete_datastore("data", None)["deleted"] == [2]
    assert world.contents() == set()
    assert world.create()["version"] == 3  # a number is never given twice


def test_a_version_that_is_used_is_not_deleted_and_the_users_are_named(world: World) -> None:
    world.write("a")
    world.create()
    world.create()
    world.use(1, state=ExperimentState.PENDING)  # the server would start one that is queued
    user = make_run().name
    with pytest.raises(Conflict, match=f"data:1 is used by {user}-exp0"):
        world.api.delete_datastore("data", 1)
    with pytest.raises(Conflict):
        world.api.delete_datastore("data", None)
    assert len(world.api.datastores()) == 2
    shown = world.api.datastore("data", 1)["used_by"]
    assert shown == [{"run": user, "active": True, "experiments": [f"{user}-exp0"]}]
    assert world.api.delete_datastore("data", 2)["deleted"] == [2]


def test_a_version_whose_users_have_ended_is_deleted(world: World) -> None:
    world.write("a")
    world.create()
    world.use(1, state=ExperimentState.STOPPED)
    assert world.api.datastore("data", 1)["used_by"][0]["active"] is False
    world.api.delete_datastore("data", 1)


def test_an_upload_that_was_given_up_is_deleted_with_what_it_brought(world: World) -> None:
    world.write("a", "brought")
    opened = world.api.open_datastore("data", str(world.source))
    (Path(opened["staging"]) / "half.part").write_text("x")
    content, digest = b"arrived", hashlib.sha256(b"arrived").hexdigest()
    (Path(opened["staging"]) / digest).write_bytes(content)
    offered = {"position": 0, "path": "a", "size": len(content), "sha256": digest, "executable": False}
    assert world.api.offer_datastore_files(opened, [offered]) == []  # type: ignore[list-item]
    world.api.delete_datastore("data", 1)
    assert not list((world.root / ".staging").iterdir())
    assert not (world.root / "data").exists()
    assert world.api.datastores() == []


def test_verifying_repairs_what_a_script_did_and_names_what_it_cannot(world: World) -> None:
    world.server._engines.of("local")._mounts = False  # then trees are copies
    for name in ("changed", "removed", "whole"):
        world.write(name, name)
    world.create()
    tree = world.root / "data" / "1"
    os.chmod(tree, 0o755)
    os.chmod(tree / "changed", 0o644)
    (tree / "changed").write_text("CHANGED")
    (tree / "removed").unlink()
    (tree / "added").write_text("mine")
    verdict = world.api.verify_datastore("data", 1)
    assert verdict == {"files": 3, "damaged": [], "repaired": ["added", "changed", "removed"]}
    assert world.tree() == {"changed": b"changed", "removed": b"removed", "whole": b"whole"}
    for content in (world.root / ".contents").rglob("*"):
        if content.is_file() and content.read_bytes() == b"changed":
            os.chmod(content, 0o644)
            content.write_text("rotten")
    os.chmod(tree / "changed", 0o644)
    (tree / "changed").write_text("CHANGED")
    assert world.api.verify_datastore("data", 1)["damaged"] == ["changed"]
    world.create()  # brings the content again
    assert world.api.verify_datastore("data", 1)["repaired"] == ["changed"]
    assert world.tree()["changed"] == b"changed"


def test_a_version_without_records_of_its_files_is_left_as_it_is(world: World) -> None:
    world.write("a")
    world.create()
    with sqlite3.connect(world.folder / "home" / "grid.db") as connection:
        connection.execute("DELETE FROM datastore_files")
    with pytest.raises(Conflict, match="before digests"):
        world.api.verify_datastore("data", 1)
    assert world.tree() == {"a": b"x"}


def test_nothing_new_is_taken_in_when_the_disk_is_nearly_full(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.write("a")
    usage = shutil.disk_usage(world.folder)
    nearly = usage._replace(total=100 << 30, free=1900 * MIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: nearly)
    with pytest.raises(Unusable, match=r"1\.8 GiB are free .*, and 2\.0 GiB stay free"):
        world.create()
    assert world.api.datastores() == []


def test_many_at_once_lose_nothing(world: World) -> None:
    """Threads share the application, as commands do; contents that several bring are stored once."""
    sources = []
    for number in range(4):
        folder = world.folder / f"s{number}"
        folder.mkdir()
        for i in range(50):
            (folder / f"f{i}").write_text(f"content {i}")
        sources.append(folder)
    failures: list[BaseException] = []

    def create(source: Path) -> None:
        try:
            opened = world.api.open_datastore("many", str(source))
            with KnownDigests(world.folder / source.name / ".." / f"{source.name}.journal") as known:
                Sender(world.api, opened, find_material(source), known, lambda *_: None).run()
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=create, args=(source,)) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert sorted(row["version"] for row in world.api.datastores()) == [1, 2, 3, 4]
    assert len(world.contents()) == 50
    assert all(len(world.tree(version, "many")) == 50 for version in (1, 2, 3, 4))


def test_only_who_made_a_datastore_adds_to_it_and_deletes_it(world: World) -> None:
    world.write("a")
    world.create()
    opened = world.api.open_datastore("data", str(world.source))
    token = "t" * 43
    database = Database.open(f"sqlite:///{world.folder / 'home' / 'grid.db'}")
    with database.transaction() as tx:
        tx.accounts.ensure_user("eve", token_hash(token), T0)
    database.close()
    world.transport.client.headers["Authorization"] = f"Bearer {token}"
    assert world.api.datastore("data", 1)["files"] == 1
    for change in (
        lambda: world.api.open_datastore("data", str(world.source)),
        lambda: world.api.open_datastore("data", str(world.source), opened["upload"]),
        lambda: world.api.offer_datastore_files(opened, []),
        lambda: world.api.send_datastore_part(opened, "0" * 64, io.BytesIO(b""), offset=0, size=0),
        lambda: world.api.finish_datastore(opened, digest="", files=0, size=0),
        lambda: world.api.delete_datastore("data", None),
    ):
        with pytest.raises(Forbidden, match="data belongs to"):
            change()
    assert len(world.api.datastores()) == 2
