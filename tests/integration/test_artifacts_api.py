"""Artifacts over HTTP, as a page shows them: folders in pages, zips, previews, links that expire."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from tests.support.records import T0, make_artifact
from tests.support.server import Caller, serving

from opengrid.core.errors import Unauthorized
from opengrid.services.sharing import Sharing
from opengrid.store.database import Database

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 20


class World:
    """An experiment with files."""

    def __init__(self, home: Path, caller: Caller) -> None:
        self.home, self.caller = home, caller
        caller.run("calm-fox", "[1, 2]")

    def add(self, path: str, content: bytes, node: int = 0, experiment: str = "calm-fox-exp0") -> str:
        digest = hashlib.sha256(content).hexdigest()
        place = self.home / "artifacts" / "contents" / digest[:2] / digest
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        database = Database.open(f"sqlite:///{self.home / 'grid.db'}")
        with database.transaction() as tx:
            artifact = make_artifact(
                tx.runs.experiment(experiment).id, path, node=node, digest=digest, size=len(content)
            )
            tx.artifacts.save([artifact])
        database.close()
        return artifact.id

    def folder(self, **query: object) -> tuple[list[tuple[str, int, int]], list[str], int]:
        document = self.caller("GET", "experiments/calm-fox-exp0/artifact-folder", **query).document
        folders = [(row["name"], row["files"], row["size"]) for row in document["folders"]]
        return folders, [row["path"] for row in document["files"]], document["total"]

    def zip(self, path: str, /, **query: object) -> dict[str, bytes]:
        answer = self.caller.raw("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with serving(tmp_path) as (caller, _):
        yield World(tmp_path, caller)


def test_files_are_seen_by_node_and_folder_in_pages(world: World) -> None:
    assert world.folder() == ([], [], 0)
    for path, size in (("a/x", 1), ("a/b/y", 2), ("A/z", 4), ("top", 8), ("a%/w", 16)):
        world.add(path, b"." * size)
    world.add("other", b"." * 32, node=1)
    assert world.folder() == ([("0", 5, 31), ("1", 1, 32)], [], 2)
    assert world.folder(node=0) == ([("A", 1, 4), ("a", 2, 3), ("a%", 1, 16)], ["top"], 4)
    assert world.folder(node=0, path="a") == world.folder(node=0, path="a/") == ([("b", 1, 2)], ["a/x"], 2)
    assert world.folder(node=0, path="a%") == ([], ["a%/w"], 1)
    assert world.folder(node=0, limit=2, offset=2) == ([("a%", 1, 16)], ["top"], 4)
    assert world.folder(node=0, limit=2, offset=3) == ([], ["top"], 4)
    assert world.folder(node=7) == ([], [], 0)


def test_a_zip_holds_all_files_or_those_of_a_folder_or_of_a_run(world: World) -> None:
    for path, content in (("out/a.ckpt", b"a"), ("out/b.ckpt", b"b"), ("log", b"c")):
        world.add(path, content)
    world.add("log", b"d", node=1)
    world.add("log", b"e", experiment="calm-fox-exp1")
    zipped = "experiments/calm-fox-exp0/artifacts.zip"
    assert world.zip(zipped) == {"out/a.ckpt": b"a", "out/b.ckpt": b"b", "log": b"c", "node1/log": b"d"}
    assert world.zip(zipped, path="out") == {"out/a.ckpt": b"a", "out/b.ckpt": b"b"}
    assert world.zip(zipped, node=1) == {"log": b"d"}
    assert world.caller("GET", zipped, path="nosuch").status == 404
    whole = world.zip("runs/calm-fox/artifacts.zip")
    assert len(whole) == 5
    assert (whole["calm-fox-exp0/node1/log"], whole["calm-fox-exp1/log"]) == (b"d", b"e")


def test_a_preview_shows_what_cannot_run(world: World) -> None:
    place = "experiments/calm-fox-exp0/artifacts"
    text, image, page = world.add("config.yaml", b"lr: 0.1"), world.add("p.png", PNG), world.add("x.html", b"<script>")
    seen = world.caller("GET", f"{place}/{text}/preview").document
    assert (seen["kind"], seen["text"], seen["truncated"]) == ("yaml", "lr: 0.1", False)
    answer = world.caller.raw("GET", f"{place}/{image}/image")
    assert (answer.content, answer.headers["content-type"]) == (PNG, "image/png")
    assert "sandbox" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    for id in (text, page):
        assert world.caller("GET", f"{place}/{id}/image").status == 404


def test_a_link_downloads_one_content_without_signing_in_until_it_expires(world: World) -> None:
    id = world.add("model.ckpt", b"one")
    made = world.caller("POST", f"experiments/calm-fox-exp0/artifacts/{id}/links", {"valid_s": 60})
    assert made.status == 201, made
    address, _, path = made.document["url"].partition("/api/v1/")
    assert address == str(world.caller._client.base_url).rstrip("/")
    stranger = Caller(world.caller._client, "")
    answer = stranger.raw("GET", path)
    assert (answer.status_code, answer.content) == (200, b"one")
    assert "model.ckpt" in answer.headers["content-disposition"]
    for changed in (path[:-2], path.replace(".", "x."), "shared/", "shared/.", "shared/%ff.%ff"):
        assert stranger.raw("GET", changed).status_code in (401, 404), changed
    usual = world.caller("POST", f"experiments/calm-fox-exp0/artifacts/{id}/links", {}).document
    left = datetime.fromisoformat(usual["expires_at"].replace("Z", "+00:00")) - datetime.now(timezone.utc)
    assert timedelta(hours=23) < left < timedelta(hours=24)
    world.add("model.ckpt", b"two")
    assert stranger.raw("GET", path).status_code == 404, "what was shared is not there any more"
    assert world.caller("POST", f"experiments/calm-fox-exp0/artifacts/{id}/links", {"valid_s": 10**9}).status == 422


def test_a_link_that_has_expired_or_comes_from_another_server_is_refused() -> None:
    now = [T0]
    sharing = Sharing("secret", now_us=lambda: now[0])
    word, shared = sharing.make("calm-fox-exp0", "id", "ab", 60)
    assert sharing.read(word) == shared
    with pytest.raises(Unauthorized):
        Sharing("another", now_us=lambda: now[0]).read(word)
    now[0] += 60_000_000
    with pytest.raises(Unauthorized, match="expired"):
        sharing.read(word)
