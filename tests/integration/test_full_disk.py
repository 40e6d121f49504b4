"""Disks that are nearly full, or become full in the middle: what is new waits or is refused in words, and goes on."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support.agents import AgentBench
from tests.support.grid import eventually
from tests.support.server import Caller
from tests.support.server_app import running_app

from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.documents import DatastoreRow
from opengrid.client.transfer import Sender, find_material
from opengrid.core.disks import DiskGuard
from opengrid.core.errors import Unusable
from opengrid.core.protocol import DataFile, Phase, Prepared, Waits
from opengrid.node.cache import DataCache
from opengrid.store.database import Database

MIB = 1 << 20


class World:
    """A server's home on a small disk, and a source on another."""

    def __init__(self, folder: Path, disk: Path) -> None:
        self.source, self.disk = folder / "source", disk
        self.source.mkdir()
        self._journal = folder / "journal"
        self.upload: str | None = None

    def write(self, name: str, size: int) -> None:
        (self.source / name).write_bytes(os.urandom(size))

    def fill(self, left: int) -> None:
        """Leave so many bytes of the server's disk."""
        with (self.disk / "ballast").open("ab") as ballast:
            while (wanted := shutil.disk_usage(self.disk).free - left) > 0:
                with contextlib.suppress(OSError):  # the server has taken some meanwhile: then less is wanted
                    os.posix_fallocate(ballast.fileno(), os.fstat(ballast.fileno()).st_size, wanted)

    def create(self, api: Api) -> DatastoreRow:
        opened = api.open_datastore("data", str(self.source), self.upload)
        self.upload = opened["upload"]
        with KnownDigests(self._journal) as known:
            return Sender(api, opened, find_material(self.source), known, lambda *_: None).run()

    def staged(self) -> list[Path]:
        return [path for path in (self.disk / "datastores" / ".staging").rglob("*") if path.is_file()]


def renew_reserve(world: World) -> None:
    """Do what a server does every minute."""
    database = Database.open(f"sqlite:///{world.disk / 'grid.db'}")
    database.renew_reserve()
    database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    disk = tmp_path / "home"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(disk)]
    mounted = subprocess.run(mount, capture_output=True, text=True, check=False, timeout=60)
    if mounted.returncode != 0:
        missing("tmpfs", f"only root may mount one here: {mounted.stderr.strip()}")
    yield World(tmp_path, disk)
    subprocess.run(["umount", "-l", str(disk)], check=True, timeout=60)


def test_below_the_limit_nothing_is_opened_until_there_is_space_again(world: World) -> None:
    world.write("a", 1000)
    with running_app(world.disk) as (api, _, _):
        world.fill(left=3 * MIB)
        with pytest.raises(
            Unusable, match=r"no space left for anything new: .* MiB are free .*, and 4\.8 MiB stay free"
        ):
            world.create(api)
        assert api.datastores() == []
        (world.disk / "ballast").unlink()
        assert world.create(api)["state"] == "succeeded"


def test_a_file_that_does_not_fit_is_refused_before_it_is_copied(world: World) -> None:
    world.write("large", 10 * MIB)
    with running_app(world.disk) as (api, _, _):
        world.fill(left=12 * MIB)
        with pytest.raises(Unusable, match=r"no space left for 10\.0 MiB"):
            world.create(api)
        assert world.staged() == []
        (world.disk / "ballast").unlink()
        assert world.create(api)["version"] == 1


@pytest.mark.parametrize(("number", "size"), [(1, 20 * MIB), (400, 50_000)], ids=["one", "many"])
def test_a_disk_that_becomes_full_in_the_middle_ends_the_upload_and_it_goes_on_later(
    world: World, number: int, size: int
) -> None:
    for index in range(number):
        world.write(f"f{index:03}", size)
    with running_app(world.disk, least_free=2 * MIB) as (api, _, _):
        world.fill(left=12 * MIB)
        with pytest.raises(Unusable, match=r"[Nn]o space left"):
            world.create(api)
        assert shutil.disk_usage(world.disk).free >= 1 * MIB
        (world.disk / "ballast").unlink()
        made = world.create(api)
        assert (made["version"], made["files"], made["size"]) == (1, number, number * size)
    root = world.disk / "datastores" / "data" / "1"
    assert {p.name: p.read_bytes() for p in root.iterdir()} == {p.name: p.read_bytes() for p in world.source.iterdir()}


def test_what_frees_space_works_on_a_disk_that_is_full_to_the_last_byte(world: World) -> None:
    for index in range(100):
        world.write(f"f{index:03}", 50_000)
    with running_app(world.disk) as (api, transport, _):
        world.create(api)
        world.fill(left=3 * MIB)
        renew_reserve(world)
        assert not (world.disk / "grid.db.reserve").exists(), "what little there is belongs to others"
        (world.disk / "ballast").unlink()
        renew_reserve(world)
        world.fill(left=3 * MIB)  # the run waits
        caller = Caller(transport.client, (world.disk / "token").read_text())
        assert caller.run("waits").status == 201
        world.fill(left=0)
        assert shutil.disk_usage(world.disk).free == 0
        assert api.stop("run", ["waits"])["stopped"] == ["waits-exp0"]
        eventually(lambda: api.experiment("waits-exp0")["state"] == "stopped")
        world.fill(left=0)
        assert api.delete("run", ["waits"]) == ["waits-exp0"]
        world.fill(left=0)
        assert api.delete_datastore("data", None)["deleted"] == [1]
        assert shutil.disk_usage(world.disk).free > 100 * 50_000


def test_a_server_starts_on_a_disk_that_is_full_to_the_last_byte(world: World) -> None:
    with running_app(world.disk) as (api, _, _):
        world.write("a", 5 * MIB)
        world.create(api)
    renew_reserve(world)
    world.fill(left=0)
    with running_app(world.disk) as (api, _, _):
        api.delete_datastore("data", None)
    assert shutil.disk_usage(world.disk).free > 5 * MIB


def test_a_machine_with_a_full_disk_begins_nothing_says_why_and_goes_on(world: World, bench: AgentBench) -> None:
    bench.assign("print('x')", work=world.disk / "work", least_free=2 << 30)
    world.fill(left=3 * MIB)
    bench.start()
    bench.server.tell(1, Phase.PREPARE)
    bench.server.until(lambda: bool(bench.server.of(Waits)), "a reason to wait")
    assert re.fullmatch(
        rf"waits for disk space: .* MiB are free on the disk of {world.disk}/work, and 4\.8 MiB stay free",
        bench.server.of(Waits)[0].reason,
    )
    assert not (world.disk / "work").exists()
    (world.disk / "ballast").unlink()
    bench.server.until(lambda: bool(bench.server.of(Prepared)), "prepared")
    bench.release()


def test_data_that_nobody_uses_makes_room_and_what_does_not_fit_all_the_same_is_refused(world: World) -> None:
    files = [DataFile(path="f", size=20 * MIB, sha256=f"{number:064x}") for number in range(2)]

    def take(number: int) -> None:
        cache = DataCache(world.disk / "cache", 1 << 40, disks=DiskGuard())

        def bring(_: bool) -> list[DataFile]:
            cache.reserve(files[number].size)
            cache.partial(files[number].sha256).write_bytes(bytes(files[number].size))
            cache.keep(files[number].sha256)
            os.utime(cache.path(files[number].sha256), (1, 1))  # not used lately
            return [files[number]]

        cache.take(f"data-{number}", world.disk / f"data-{number}", bring)
        cache.close()

    take(0)
    world.fill(left=15 * MIB)
    take(1)
    assert [tree.name for tree in world.disk.glob("data-*")] == ["data-1"]
    assert not DataCache(world.disk / "none", 1 << 40, disks=DiskGuard()).make_room()
    (world.disk / "ballast").unlink()
    world.fill(left=3 * MIB)
    assert DataCache(world.disk / "cache", 1 << 40, disks=DiskGuard()).make_room()
    assert DiskGuard().waits(world.disk) is None
    with pytest.raises(Unusable, match=r"no space left for 20\.0 MiB: .*"):
        take(0)
