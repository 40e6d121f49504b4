"""Datastores of buckets, copied, and those that only refer to a bucket or to a folder that all machines see."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store
from tests.integration.test_bucket_data import World, files_of
from tests.support.grid import eventually
from tests.support.records import make_spec
from tests.support.s3 import Endpoint
from tests.support.server_app import running_app

from opengrid.client.documents import DatastoreRow
from opengrid.core.errors import GridError, Unusable
from opengrid.core.mounts import Mount
from opengrid.core.records.datastores import DatastoreFile, DatastoreKind
from opengrid.server.app import Server
from opengrid.services.callers import Caller
from opengrid.store.database import Database


@pytest.fixture(params=["folder", "bucket"])
def world(request: pytest.FixtureRequest, tmp_path: Path, bucket: str) -> Iterator[World]:
    (tmp_path / "home").mkdir()
    storage = None if request.param == "folder" else f"s3://{bucket}/team"
    with running_app(tmp_path / "home", storage) as (api, _, server):
        yield World(tmp_path, bucket, api, server)


def put(world: World, key: str, content: bytes) -> None:
    obstore.put(S3Store(world.bucket, client_options={"allow_http": True}), f"theirs/{key}", content)


def made(world: World, source: str, *, refers: bool) -> DatastoreRow:
    row = world.api.import_datastore("data", source, refers=refers)
    deadline = time.monotonic() + 60
    while row["state"] == "processing" and time.monotonic() < deadline:
        row = world.api.datastore("data", row["version"])
    return row


def mount_of(server: Server, version: int) -> Mount:
    spec = make_spec(datastore_name="data", datastore_version=version)
    (mount,) = server.data.runs.mounts([], spec)
    return mount


FILES = {"a/x": b"x" * 1000, "a/y": b"", "b z/ü": b"content"}


def test_a_bucket_is_copied_by_the_server(world: World) -> None:
    for key, content in FILES.items():
        put(world, key, content)
    row = made(world, f"s3://{world.bucket}/theirs", refers=False)
    assert (row["state"], row["reason"], row["files"], row["kind"]) == ("succeeded", "", 3, "copied")
    put(world, "a/x", b"changed later")
    assert world.api.verify_datastore("data", 1)["damaged"] == []
    mount = mount_of(world.server, 1)
    tree = world.mount() if mount.is_fetched else Path(mount.source)
    assert files_of(tree) == FILES


def test_a_bucket_that_is_referred_to_is_pinned_by_etags(world: World, endpoint: Endpoint) -> None:
    for key, content in FILES.items():
        put(world, key, content)
    row = made(world, f"s3://{world.bucket}/theirs", refers=True)
    assert (row["state"], row["reason"], row["files"], row["kind"]) == ("succeeded", "", 3, "referenced")
    shown = world.api.datastore_files("data", 1, limit=1)["files"][0]
    assert shown["sha256"] == ""
    assert shown["pin"].startswith("etag:")
    mount = mount_of(world.server, 1)
    assert mount.is_fetched
    assert files_of(world.mount()) == FILES
    asked = len(endpoint.asked)
    world.mount()
    assert len(endpoint.asked) == asked
    put(world, "a/x", b"y" * 1000)
    put(world, "new", b"")
    assert world.api.verify_datastore("data", 1)["damaged"] == ["a/x", "new"]
    with pytest.raises(Unusable, match=r"data:1 refers to s3://.*, where 2 files have changed since: a/x, new"):
        world.server.data.runs.check_mounts([mount], "e1-1")
    for file in world.cache.rglob("*"):  # another machine
        if file.is_file():
            file.unlink()
    with pytest.raises(GridError, match="has changed since it was referred to"):
        world.mount()
    obstore.delete(S3Store(world.bucket, client_options={"allow_http": True}), ["theirs/new"])
    world.api.delete_datastore("data", None)
    assert world.api.datastores() == []


def test_a_machine_fetches_several_objects_at_a_time(world: World, endpoint: Endpoint) -> None:
    files = {f"f{number}": str(number).encode() for number in range(8)}
    for key, content in files.items():
        put(world, key, content)
    made(world, f"s3://{world.bucket}/theirs", refers=True)
    endpoint.fail(method="GET", part="/theirs/f")
    endpoint.together = threading.Barrier(4)
    assert files_of(world.mount()) == files


def test_a_folder_that_is_referred_to_is_pinned_by_sizes_and_times(world: World) -> None:
    for path, content in FILES.items():
        os.utime(world.write(path, content), (1, 1))
    row = made(world, str(world.source), refers=True)
    assert (row["state"], row["reason"], row["kind"], row["size"]) == ("succeeded", "", "referenced", 1007)
    assert world.api.datastore("data", 1)["location"] == str(world.source)
    mount = mount_of(world.server, 1)
    assert (mount.source, mount.is_shared, mount.is_fetched) == (str(world.source), True, False)
    world.server.data.runs.check_mounts([mount], "e1-2")
    os.utime(world.source / "a" / "x", (2, 2))
    (world.source / "a" / "y").unlink()
    with pytest.raises(Unusable, match="2 files have changed since: a/x, a/y"):
        world.server.data.runs.check_mounts([mount], "e1-3")
    (world.source / "new\n\x1b[31mline").touch()
    with pytest.raises(Unusable, match=re.escape(r"a/x, a/y, new\n\x1b[31mline")):
        world.server.data.runs.check_mounts([mount], "e1-4")
    assert made(world, str(world.source), refers=True)["version"] == 2
    world.api.delete_datastore("data", 1)
    assert (world.source / "a" / "x").exists()


def test_what_a_killed_server_had_begun_to_refer_to_the_next_one_goes_on_with(world: World) -> None:
    world.write("a", b"content")
    me = Caller(name="root", is_admin=True)
    version = world.server.data.filling.open("data", str(world.source), me, kind=DatastoreKind.REFERENCED).version
    pinned = DatastoreFile(position=0, path="b", size=1, digest="time:1")
    database = Database.open(f"sqlite:///{world.folder / 'home' / 'grid.db'}")
    with database.transaction() as tx:
        tx.data.save_files("data", version.version, version.round, [pinned])
    database.close()
    world.server.data.imports.go_on()
    row = eventually(lambda: (one := world.api.datastore("data", 1))["state"] != "processing" and one)
    assert (row["state"], row["reason"], row["files"]) == ("succeeded", "", 1)
    assert [file["path"] for file in world.api.datastore_files("data", 1, limit=9)["files"]] == ["a"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("/nowhere/at/all", "the server sees no folder"),
        ("relative", "the server sees no folder"),
        ("s3://nosuch-bucket-at-all/x", "there is no bucket nosuch-bucket-at-all"),
        ("s3://{bucket}/empty", "is empty"),
        ("s3:///x", "no address in a bucket"),
    ],
)
def test_what_cannot_be_referred_to_is_told(world: World, source: str, said: str) -> None:
    row = made(world, source.format(bucket=world.bucket), refers=True)
    assert row["state"] == "failed"
    assert said in row["reason"]


@pytest.mark.full
def test_150_gb_in_100_000_files_are_referred_to(world: World) -> None:
    for folder in range(100):
        (world.source / f"d{folder}").mkdir()
        for i in range(1000):
            with (world.source / f"d{folder}" / f"f{i}").open("wb") as file:
                file.truncate(1_500_000)
    row = made(world, str(world.source), refers=True)
    assert (row["state"], row["files"], row["size"]) == ("succeeded", 100_000, 150 * 10**9)
