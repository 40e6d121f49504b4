"""What was deleted is gone from the disk, also when the server that deleted it was killed before it could remove it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
from tests.support.grid import eventually
from tests.support.records import T0, make_artifact, make_experiments, make_run
from tests.support.server_app import running_app

from opengrid.blobs.folder import FolderBlobs
from opengrid.client.digests import KnownDigests
from opengrid.client.transfer import Sender, find_material
from opengrid.core.disks import DiskGuard
from opengrid.core.errors import NotFound
from opengrid.core.manifest import tree_digest
from opengrid.core.records.datastores import DatastoreFile, DatastoreVersion
from opengrid.core.records.experiments import ExperimentState
from opengrid.core.records.removals import RunRemoval
from opengrid.services.callers import Caller
from opengrid.services.datastores import Datastores
from opengrid.services.filling import Filling
from opengrid.services.trees import Trees
from opengrid.store.database import Database

ADA = Caller(name="ada", is_admin=True)


class Killed(Exception):
    """The server is gone."""


class KilledBlobs(FolderBlobs):
    """Contents of a server that is killed when it begins to remove some."""

    def remove(self, digests: Collection[str]) -> int:
        raise Killed


class KilledTrees(Trees):
    """Trees of a server that is killed when it begins to remove one."""

    def remove(self, name: str, version: int) -> None:
        raise Killed


def make_versions(home: Path) -> None:
    """Make data:1 and data:2, which share a file."""
    source = home.parent / "source"
    source.mkdir()
    with running_app(home) as (api, _, _):
        for version in (1, 2):
            (source / "same").write_bytes(b"same")
            (source / "other").write_bytes(b"of %d" % version)
            with KnownDigests(home.parent / "journal") as known:
                opened = api.open_datastore("data", str(source))
                Sender(api, opened, find_material(source), known, lambda *_: None).run()


def delete_and_be_killed(home: Path, *, trees_are_gone: bool) -> None:
    """Delete data:1 as a server does that is killed as soon as the database has forgotten it."""
    root = home / "datastores"
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    contents = KilledBlobs(root / ".contents")
    trees = (Trees if trees_are_gone else KilledTrees)(root, contents, has_mounts=lambda: True)
    with pytest.raises(Killed):
        Datastores(database, root, contents, trees).delete("data", 1, ADA)
    database.close()


def contents(root: Path) -> set[bytes]:
    return {place.read_bytes() for place in root.rglob("*") if place.is_file()}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize("trees_are_gone", [True, False])
def test_the_next_server_removes_what_the_killed_one_had_only_forgotten(home: Path, trees_are_gone: bool) -> None:
    make_versions(home)
    root = home / "datastores"
    delete_and_be_killed(home, trees_are_gone=trees_are_gone)
    assert contents(root / ".contents") == {b"same", b"of 1", b"of 2"}
    with running_app(home) as (api, _, _):
        assert eventually(lambda: contents(root / ".contents") == {b"same", b"of 2"})
        assert [path.name for path in (root / "data").iterdir()] == ["2"]
        assert api.verify_datastore("data", 2)["damaged"] == []


class OvertakenTrees(Trees):
    """Trees whose version is deleted just before it is made."""

    def __init__(self, database: Database, root: Path) -> None:
        super().__init__(root, FolderBlobs(root / ".contents"), has_mounts=lambda: True)
        self._datastores = Datastores(database, root, FolderBlobs(root / ".contents"), self)

    def make(self, version: DatastoreVersion, files: Sequence[DatastoreFile]) -> None:
        self._datastores.delete(version.name, None, ADA)
        super().make(version, files)


@pytest.mark.parametrize("others_have_it", [True, False])
def test_a_version_that_is_deleted_when_it_becomes_whole_has_no_tree(home: Path, others_have_it: bool) -> None:
    root, digest = home / "datastores", hashlib.sha256(b"x").hexdigest()
    root.mkdir()
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    trees = OvertakenTrees(database, root)
    filling = Filling(database, root, FolderBlobs(root / ".contents"), trees, disks=DiskGuard(0), now_us=lambda: T0)
    for name in ("other", "data") if others_have_it else ("data",):
        opened = filling.open(name, "/data", ADA)
        (opened.staging / digest).write_bytes(b"x")
        assert filling.offer(name, 1, 1, [DatastoreFile(position=0, path="file", size=1, digest=digest)]) == []
    whole = tree_digest([("file", 1, digest)])
    with pytest.raises(NotFound):
        filling.finish("data", 1, 1, digest=whole, files=1, size=1)
    assert not (root / "data").exists()
    assert bool(contents(root / ".contents")) is others_have_it
    database.close()


def test_an_experiment_is_gone_from_the_disk_too_but_not_one_that_took_its_name(home: Path) -> None:
    again = make_run("again")
    digests = [hashlib.sha256(content).hexdigest() for content in (b"theirs", b"shared")]
    with running_app(home):
        pass
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    experiments = (("gone-id", "gone-exp0"), ("again-id", "again-exp0"))
    with database.transaction() as tx:
        made = [dataclasses.replace(one, state=ExperimentState.SUCCEEDED) for one in make_experiments(again)]
        tx.runs.create(again, made, T0)
        tx.artifacts.save([make_artifact(made[0].id, "model.pt", digest=digests[1])])
        tx.removals.add(
            RunRemoval(id="1", contents=tuple(digests), attempts=("gone-attempt",), experiments=experiments)
        )
    database.close()
    kept = FolderBlobs(home / "artifacts" / "contents")
    for content, digest in zip((b"theirs", b"shared"), digests, strict=True):
        with kept.writing(digest) as writer:
            writer.write(content)
    places = ["logs/gone-attempt/1/0.out", "events/gone-id/1", "work/gone-exp0/1/file", "work/again-exp0/1/file"]
    for place in places:
        (home / place).parent.mkdir(parents=True)
        (home / place).write_text("x")
    with running_app(home):
        assert eventually(lambda: contents(home / "artifacts" / "contents") == {b"shared"})
    assert [place for place in places if (home / place).exists()] == ["work/again-exp0/1/file"]
    assert [path.name for path in (home / "work").iterdir()] == ["again-exp0"]
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    with database.read() as tx:
        assert tx.removals.all() == []
    database.close()
