"""Datastores whose contents rest in a bucket: put there in packs over links, fetched from there to each machine."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar, cast

import obstore
import pytest
from fastapi.testclient import TestClient
from obstore.store import S3Store
from tests.support.grid import eventually
from tests.support.records import T0, make_attempt, make_experiments, make_machines, make_run
from tests.support.s3 import Endpoint
from tests.support.server_app import URL, InProcess, running_app

from opengrid.client import links, packs
from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.documents import DatastoreRow
from opengrid.client.download import fetch
from opengrid.client.http import Http
from opengrid.client.transfer import Sender, find_material
from opengrid.core.disks import DiskGuard
from opengrid.core.errors import GridError, ServerUnreachable, Unusable
from opengrid.core.mounts import Mount
from opengrid.core.protocol import Assignment, RestoreFile
from opengrid.core.records.attempts import AttemptState, MachineState
from opengrid.core.records.experiments import ExperimentState
from opengrid.core.tokens import token_hash
from opengrid.node.artifacts import Collector
from opengrid.node.cache import DataCache
from opengrid.node.data import fetch_data
from opengrid.node.link import Channel
from opengrid.node.restoring import _bring
from opengrid.server.app import Server
from opengrid.store.database import Database

MIB = 1 << 20
T = TypeVar("T")


class Direct:
    """A channel of an agent that reaches its server at once."""

    def __init__(self, transport: InProcess) -> None:
        self.transport = transport

    away_since = None

    def another(self) -> Direct:
        return self

    def close(self) -> None:
        """Nothing is held."""

    def call(self, use: Callable[[Http], T]) -> T:
        return use(cast("Http", self.transport))

    def call_until_answered(self, use: Callable[[Http], T], *, timeout_s: float) -> T:
        return use(cast("Http", self.transport))


class World:
    """A server with a bucket, its user, and one of its agents."""

    def __init__(self, folder: Path, bucket: str, api: Api, server: Server) -> None:
        self.folder, self.api, self.server, self.bucket = folder, api, server, bucket
        self.source = folder / "source"
        self.source.mkdir()
        self.upload: str | None = None
        self.cache = folder / "machine" / ".contents"
        client = TestClient(server.app, base_url=URL, raise_server_exceptions=False)
        client.headers["Authorization"] = "Bearer session"
        self.agent = InProcess(client)
        self.mounts: list[Mount] = []

    def write(self, path: str, content: bytes) -> Path:
        file = self.source / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        return file

    def create(self, *, again: bool = False) -> DatastoreRow:
        opened = self.api.open_datastore("data", str(self.source), self.upload if again else None)
        self.upload = opened["upload"]
        with KnownDigests(self.folder / "journal") as known:
            return Sender(self.api, opened, find_material(self.source), known, lambda done, came: None).run()

    def mount(self, version: int = 1, *, most: int = 1 << 30) -> Path:
        """Have an agent whose run uses a version fetch it; return where its tree is."""
        place = self.folder / "machine" / f"data-{version}"
        mount = Mount(name="data", version=version, path="/data", source=str(place), is_fetched=True, is_bound=False)
        if mount not in self.mounts:
            self.mounts.append(mount)
            self.run()
        cache = DataCache(self.cache, most, disks=DiskGuard())
        fetch_data(
            cast("Assignment", dataclasses.make_dataclass("A", ["mounts"])((mount,))),
            cache,
            cast("Channel", Direct(self.agent)),
        )
        cache.close()
        return place

    def run(self, state: AttemptState = AttemptState.SUCCEEDED) -> str:
        """Have a run with all mounts, and be the agent of its attempt; return its experiment's name."""
        self.server._controller.close()  # nothing here is for it
        run = make_run(f"brave-otter-{len(self.mounts)}")
        run = dataclasses.replace(run, plan=dataclasses.replace(run.plan, mounts=tuple(self.mounts)))
        (experiment,) = make_experiments(run, state=ExperimentState(state.value))
        attempt = make_attempt(experiment, state=state)
        session = f"session{len(self.mounts)}"
        machine = dataclasses.replace(
            make_machines(attempt)[0], state=MachineState.PRESENT, session_hash=token_hash(session)
        )
        self.agent.client.headers["Authorization"] = f"Bearer {session}"
        database = Database.open(f"sqlite:///{self.folder / 'home' / 'grid.db'}")
        with database.transaction() as tx:
            tx.runs.create(run, [experiment], T0)
            tx.attempts.create(attempt, [machine])
        database.close()
        return experiment.name

    def stored(self, endpoint: Endpoint, kind: str) -> list[str]:
        answer = endpoint.ask("GET", f"/{self.bucket}?list-type=2&prefix=team/datastores/{kind}/")[1].decode()
        return [part.partition("</Key>")[0] for part in answer.split("<Key>")[1:]]


def files_of(tree: Path) -> dict[str, bytes]:
    return {p.relative_to(tree).as_posix(): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


@pytest.fixture
def world(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(links, "_PAUSE_S", 0.0)
    (tmp_path / "home").mkdir()
    with running_app(tmp_path / "home", f"s3://{bucket}/team") as (api, _, server):
        yield World(tmp_path, bucket, api, server)


def test_contents_go_to_the_bucket_in_packs_and_from_there_to_a_machine(world: World, endpoint: Endpoint) -> None:
    files = {f"d{i % 7}/f{i}": os.urandom(1000 + i) for i in range(200)}
    files |= {"empty": b"", "large": os.urandom(9 * MIB)}
    for path, content in files.items():
        world.write(path, content)
    os.chmod(world.write("run.sh", b"#!"), 0o755)
    world.create()
    assert len(world.stored(endpoint, "packs")) == 2
    assert not list((world.folder / "home" / "datastores" / ".contents").glob("*/*"))  # nothing of the server's disk
    asked = len(endpoint.asked)
    tree = world.mount()
    assert files_of(tree) == {**files, "run.sh": b"#!"}
    assert os.stat(tree / "run.sh").st_mode & 0o777 == 0o555
    assert len([method for method, _ in endpoint.asked[asked:] if method == "GET"]) == 2
    assert world.api.datastore("data", 1)["location"] == f"s3://{world.bucket}/team/datastores"


def test_contents_that_come_through_the_server_as_a_browser_sends_them_go_to_the_bucket_too(
    world: World, endpoint: Endpoint
) -> None:
    files = {"empty": b"", "small": b"small", "large": os.urandom(9 * MIB)}
    for path, content in files.items():
        world.write(path, content)
    opened = world.api.open_datastore("data", "a browser")
    opened["links"], opened["staging"] = False, "/nowhere"
    with KnownDigests(world.folder / "journal") as known:
        Sender(world.api, opened, find_material(world.source), known, lambda done, came: None).run()
    assert world.stored(endpoint, "packs")
    assert not list((world.folder / "home" / "datastores" / ".staging").iterdir())
    assert files_of(world.mount()) == files


def test_of_a_large_file_only_the_pieces_that_changed_are_sent_and_unchanged_files_are_not(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PIECE", MIB)
    content = bytearray(os.urandom(12 * MIB + 5))
    world.write("large", bytes(content))
    world.write("small", b"small")
    world.create()
    endpoint.sent = 0
    content[5 * MIB + 7] ^= 1
    world.write("large", bytes(content))
    world.create()
    assert MIB <= endpoint.sent < MIB + 10_000  # and an index
    assert files_of(world.mount(2)) == {"large": bytes(content), "small": b"small"}


def test_an_upload_that_was_broken_off_sends_again_less_than_a_pack(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PIECE", MIB)
    content = os.urandom(10 * MIB)
    world.write("large", content)
    endpoint.fail(*[None] * 4, *[500] * 100, method="PUT", part="packs")
    with pytest.raises(ServerUnreachable):
        world.create()
    endpoint.fail()
    there = len(world.stored(endpoint, "packs"))
    assert there >= 4
    endpoint.sent = 0
    world.create(again=True)
    assert endpoint.sent < (10 - there) * MIB + 10_000
    assert files_of(world.mount()) == {"large": content}


def test_an_upload_that_is_cut_or_damaged_or_throttled_is_sent_again(world: World, endpoint: Endpoint) -> None:
    world.write("a", os.urandom(MIB))
    endpoint.fail("cut", 503, "cut", 400, method="PUT", part="packs")
    world.create()
    assert endpoint.faults == []
    assert files_of(world.mount()) == files_of(world.source)


def test_a_link_that_expires_in_the_middle_is_asked_for_again(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "PIECE", MIB)
    content = os.urandom(9 * MIB)
    world.write("large", content)
    endpoint.fail(403, method="PUT", part="packs")
    world.create()
    assert endpoint.faults == []
    endpoint.fail("cut", 403, method="GET", part="packs")
    tree = world.mount()
    assert endpoint.faults == []
    assert files_of(tree) == {"large": content}


def test_a_link_works_for_minutes_and_not_for_ever(world: World, endpoint: Endpoint) -> None:
    opened = world.api.open_datastore("data", "x")
    url = world.api.pack_links(opened, [hashlib.sha256(b"x").hexdigest()]).popitem()[1]
    assert not endpoint.has_expired(url)
    endpoint.now = lambda: datetime.now(timezone.utc) + timedelta(hours=1)
    assert endpoint.has_expired(url)


def test_who_is_refused_with_a_new_link_is_told(world: World, endpoint: Endpoint) -> None:
    world.write("a", b"a")
    endpoint.fail(*[403] * 9, method="PUT", part="packs")
    with pytest.raises(Unusable, match="refuses the server's links: AccessDenied"):
        world.create()


def test_a_machine_fetches_what_it_lacks_and_a_warm_cache_asks_nobody(world: World, endpoint: Endpoint) -> None:
    for i in range(50):
        world.write(f"f{i}", str(i).encode() * 100)
    world.create()
    world.write("f7", b"other")
    world.create()
    world.mount(1)
    asked, told = len(endpoint.asked), len(world.agent.asked)
    world.mount(1)
    assert (len(endpoint.asked), len(world.agent.asked)) == (asked, told)
    tree = world.mount(2)
    assert len([method for method, _ in endpoint.asked[asked:] if method == "GET"]) == 1
    assert (tree / "f7").read_bytes() == b"other"
    assert (tree / "f8").stat().st_ino == (world.folder / "machine" / "data-1" / "f8").stat().st_ino


def test_what_a_script_damaged_is_fetched_again(world: World) -> None:
    files = {f"f{i}": str(i).encode() * 100 for i in range(20)}
    for path, content in files.items():
        world.write(path, content)
    world.create()
    tree = world.mount()
    os.chmod(tree / "f3", 0o644)
    (tree / "f3").write_bytes(b"x" * 100)
    (tree / "f4").unlink()
    (tree / "mine").write_bytes(b"m")
    assert files_of(world.mount()) == files


def test_what_arrives_damaged_is_fetched_again_and_else_named(
    world: World, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write("a", b"a" * 1000)
    world.write("b", b"b" * 1000)
    world.create()
    (pack,) = world.stored(endpoint, "packs")
    obstore.put(S3Store(world.bucket, client_options={"allow_http": True}), pack, b"a" * 1000 + b"x" * 1000)
    with pytest.raises(GridError, match="b of datastore data:1 arrived damaged"):
        world.mount()
    verdict = world.api.verify_datastore("data", 1)
    assert (verdict["damaged"], verdict["repaired"]) == (["b"], [])
    assert world.create()["version"] == 2  # brings what is damaged again
    assert files_of(world.mount(1)) == files_of(world.source)


def test_the_cache_of_a_machine_keeps_to_its_bound_and_lets_go_what_was_not_used_for_longest(world: World) -> None:
    for version in (1, 2, 3):
        world.write("f", os.urandom(MIB))
        world.create()
        tree = world.mount(version, most=5 * MIB // 2)
        for file in world.cache.glob("??/*"):
            os.utime(file, (version, file.stat().st_mtime))
    trees = {tree.name for tree in (world.folder / "machine").iterdir() if tree.name.startswith("data")}
    assert tree.name in trees
    assert "data-1" not in trees
    assert sum(file.stat().st_size for file in world.cache.glob("??/*")) <= 5 * MIB // 2


def test_deleting_a_version_frees_packs_of_which_nothing_is_needed(world: World, endpoint: Endpoint) -> None:
    for i in range(10):
        world.write(f"f{i}", os.urandom(1000))
    world.create()
    world.write("f3", os.urandom(2000))
    world.create()
    assert len(world.stored(endpoint, "packs")) == 2
    assert world.api.delete_datastore("data", 2)["freed"] == 2000
    assert len(world.stored(endpoint, "packs")) == 1
    world.write("f3", os.urandom(3000))
    world.create()
    assert world.api.delete_datastore("data", 1)["freed"] == 0  # nine files of its pack are version 3's
    assert files_of(world.mount(3)) == files_of(world.source)
    assert world.api.delete_datastore("data", 3)["freed"] == 13_000
    assert (world.stored(endpoint, "packs"), world.stored(endpoint, "index")) == ([], [])


def test_another_server_on_the_same_bucket_finds_everything(world: World, endpoint: Endpoint, tmp_path: Path) -> None:
    for i in range(10):
        world.write(f"f{i}", os.urandom(1000))
    world.create()
    home = tmp_path / "home"
    with running_app(home, f"s3://{world.bucket}/team") as (api, _, server):
        other = World.__new__(World)
        other.__dict__ |= world.__dict__ | {"api": api, "server": server}
        endpoint.sent = 0
        assert other.create()["version"] == 2
        assert endpoint.sent == 0
        assert api.verify_datastore("data", 2)["damaged"] == []


def test_artifacts_go_to_the_bucket_and_come_from_there(
    world: World, endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packs, "MOST_PACK", MIB)
    experiment, channel = world.run(AttemptState.RUNNING), Direct(world.agent)
    work = tmp_path / "work"
    work.mkdir()
    drained: list[object] = []
    collector = Collector(
        cast("Channel", channel), staging=str(tmp_path), has_links=True, on_drained=drained.append,
        on_superseded=drained.append, log=print, settle_s=0.05,
    )  # fmt: skip
    collector.start()
    collector.watch({0: work}, before=None)
    files = {"small.txt": b"small", "same.txt": b"small", "empty": b"", "model.bin": os.urandom(3 * MIB + 5)}
    for path, content in files.items():
        (work / path).write_bytes(content)
    endpoint.fail("cut", 403, method="PUT", part="packs")
    collector.drain()
    eventually(lambda: bool(drained))
    assert drained == [None]
    rows = {row["path"]: row for row in world.api.artifacts(experiment)}
    small = hashlib.sha256(b"small").hexdigest()
    assert rows["small.txt"]["stored_at"] == f"s3://{world.bucket}/team/artifacts/packs/{small[:2]}/{small}"
    assert rows["model.bin"]["stored_at"].endswith(" and 3 more")
    endpoint.fail("cut", 403, "cut", 503, method="GET", part="packs")
    for path, row in rows.items():
        fetch(world.api, experiment, row, tmp_path / path, tmp_path / "part", lambda _: None)
        assert (tmp_path / path).read_bytes() == files[path]
    assert not list((world.folder / "home" / "artifacts" / "contents").glob("*/*"))  # nothing of the server's disk
    found = rows["model.bin"]
    file = RestoreFile(node=0, path="x", size=found["size"], sha256=found["sha256"], modified_us=0)
    _bring(file, tmp_path / "back", cast("Channel", channel), has_links=True)
    assert (tmp_path / "back").read_bytes() == files["model.bin"]


def test_archives_that_the_server_unpacks_travel_in_packs_too(world: World, endpoint: Endpoint) -> None:
    opened = world.api.open_datastore("data", "x")
    staging, offered = Path(opened["staging"]), list[Any]()
    for i in range(30):
        content = str(i).encode()
        digest = hashlib.sha256(content).hexdigest()
        (staging / digest).write_bytes(content)
        offered.append({"position": i, "path": f"f{i:02}", "size": len(content), "sha256": digest, "executable": False})
    assert world.api.offer_datastore_files(opened, offered) == []
    assert len(world.stored(endpoint, "packs")) == 1
    shutil.rmtree(staging)
