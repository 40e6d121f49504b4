"""Copies of buckets by the server: several objects at a time, each as it was listed, and on from where they were."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.test_referred_data import World, made, put
from tests.support.s3 import Endpoint
from tests.support.server_app import running_app

from opengrid.core.disks import DiskGuard
from opengrid.core.errors import DataChanged, GridError
from opengrid.core.manifest import tree_digest
from opengrid.core.records.datastores import DatastoreFile
from opengrid.server.contents import open_bucket
from opengrid.services.callers import Caller
from opengrid.services.copying import BucketCopy
from opengrid.services.filling import Filling, Opened
from opengrid.services.references import referred_files

ME = Caller(name="root", is_admin=True)


@pytest.fixture
def world(tmp_path: Path, bucket: str) -> Iterator[World]:
    (tmp_path / "home").mkdir()
    with running_app(tmp_path / "home") as (api, _, server):
        yield World(tmp_path, bucket, api, server)


class Objects:
    """A bucket whose objects from `ends_at` on cannot be read."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents, self.ends_at, self.read_keys = contents, "", list[str]()

    def read(self, key: str, offset: int = 0, size: int | None = None, *, etag: str = "") -> Iterator[bytes]:
        self.read_keys.append(key)
        if self.ends_at and key >= self.ends_at:
            raise GridError("the network is gone")
        yield self.contents[key]

    def listed(self) -> list[DatastoreFile]:
        return [
            DatastoreFile(position=i, path=key, size=len(content), digest=f"etag:{hash(content)}")
            for i, (key, content) in enumerate(sorted(self.contents.items()))
        ]


def copy(filling: Filling, opened: Opened, bucket: Objects) -> list[DatastoreFile]:
    told: list[str] = []
    filler = BucketCopy(filling, DiskGuard(0), opened.version, bucket, opened.staging, lambda text: told.append(text()))
    return filler.run(bucket.listed())


def finish(filling: Filling, opened: Opened, files: list[DatastoreFile]) -> None:
    version, digest = opened.version, tree_digest((file.path, file.size, file.digest) for file in files)
    size = sum(file.size for file in files)
    filling.finish(version.name, version.version, version.round, digest=digest, files=len(files), size=size)


def test_several_objects_come_at_a_time(world: World, endpoint: Endpoint) -> None:
    for number in range(16):
        put(world, f"f{number}", str(number).encode())
    endpoint.fail(method="GET", part="/theirs/f")
    endpoint.together = threading.Barrier(8)
    row = made(world, f"s3://{world.bucket}/theirs", refers=False)
    assert (row["state"], row["files"]) == ("succeeded", 16)


def test_an_object_that_is_cut_off_goes_on_where_it_was(world: World, endpoint: Endpoint) -> None:
    content = os.urandom(3 << 20)
    put(world, "big", content)
    endpoint.fail(*["cut"] * 5, method="GET", part="/theirs/big")
    row = made(world, f"s3://{world.bucket}/theirs", refers=False)
    assert (row["state"], row["reason"], row["size"]) == ("succeeded", "", len(content))
    assert world.api.verify_datastore("data", 1)["damaged"] == []


def test_a_service_that_is_asked_too_often_is_asked_again(world: World, endpoint: Endpoint) -> None:
    put(world, "a", b"content")
    endpoint.fail(503, 503, 503, method="GET", part="/theirs/a")
    assert made(world, f"s3://{world.bucket}/theirs", refers=False)["state"] == "succeeded"


@pytest.mark.parametrize("is_gone", [False, True])
def test_an_object_that_changed_since_it_was_listed_is_not_copied(world: World, is_gone: bool) -> None:
    put(world, "a", b"as it was listed")
    source = f"s3://{world.bucket}/theirs"
    filling = world.server.data.filling
    listed = referred_files(source, open_bucket)
    put(world, "a", b"as it is afterwards")
    bucket = open_bucket(f"s3://{world.bucket}/elsewhere" if is_gone else source)
    opened = filling.open("data", source, ME)
    with pytest.raises(DataChanged, match="a has changed since it was listed"):
        BucketCopy(filling, DiskGuard(0), opened.version, bucket, opened.staging, lambda _: None).run(listed)


def test_a_copy_that_was_broken_off_brings_only_the_rest(world: World) -> None:
    filling = world.server.data.filling
    bucket = Objects({f"f{number:03}": f"{number}".encode() for number in range(600)})
    bucket.ends_at = "f590"
    opened = filling.open("data", "s3://theirs/x", ME)
    with pytest.raises(GridError, match="network is gone"):
        copy(filling, opened, bucket)
    bucket.ends_at, bucket.read_keys = "", []
    bucket.contents["f000"] = b"changed meanwhile"

    again = filling.open("data", "s3://theirs/x", ME, opened.version.upload)
    finish(filling, again, copy(filling, again, bucket))

    assert "f000" in bucket.read_keys
    assert len(bucket.read_keys) <= 101
    tree = world.folder / "home" / "datastores" / "data" / "1"
    assert {path.name: path.read_bytes() for path in tree.iterdir()} == bucket.contents


def test_what_was_brought_and_is_lost_is_brought_again(world: World) -> None:
    filling = world.server.data.filling
    bucket = Objects({"a": b"one", "b": b"two"})
    opened = filling.open("data", "s3://theirs/x", ME)
    files = copy(filling, opened, bucket)
    world.server.data.contents.remove([files[0].digest])
    again = filling.open("data", "s3://theirs/x", ME, opened.version.upload)
    finish(filling, again, copy(filling, again, bucket))
    assert bucket.read_keys[2:] == ["a"]
