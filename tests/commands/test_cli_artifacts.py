"""`grid artifacts` against a server that answers what the test says."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from pathlib import Path
from typing import Any

from tests.support.fake_api import Asked, FakeApi
from tests.support.typed import Typist

NAME = "calm-fox-7-exp0"
ARTIFACTS = f"/api/v1/experiments/{NAME}/artifacts"


def serve(api: FakeApi, *files: tuple[str, int, bytes]) -> None:
    """Have the experiment's files, each of a node, listed and served."""
    rows: list[dict[str, Any]] = []
    for number, (path, node, content) in enumerate(files):
        about = {"id": str(number), "path": path, "node": node, "size": len(content), "stored_at": "/a"}
        rows.append({**about, "sha256": hashlib.sha256(content).hexdigest()})
        api.on("GET", f"{ARTIFACTS}/{number}/content", rest_of(content))
    api.on("GET", ARTIFACTS, {"artifacts": rows, "total": len(rows), "size": 0})


def rest_of(content: bytes) -> Any:
    return lambda asked: content[int(asked.query.get("offset", 0)) :]


def contents_asked(api: FakeApi) -> list[Asked]:
    return [asked for asked in api.asked if asked.path.endswith("/content")]


def test_a_content_that_several_nodes_have_is_fetched_once(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    small, large = b"small", b"large" * 300_000
    serve(api, ("data", 0, large), ("data", 1, large), ("data", 2, large), ("x", 0, small), ("y", 0, small))
    typed = grid("artifacts", NAME, "--download_dir", str(tmp_path / "down"))
    assert typed.out.startswith("5 files"), typed.err
    below = tmp_path / "down" / NAME
    assert [(below / path).read_bytes() for path in ("data", "node1/data", "node2/data")] == [large] * 3
    assert [(below / path).read_bytes() for path in ("x", "y")] == [small] * 2
    assert len(contents_asked(api)) == 2
    assert sorted(path.name for path in (tmp_path / "down").iterdir()) == [NAME]


def test_zeros_of_a_large_file_take_no_space_where_it_is_downloaded(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    sparse = bytes(32 << 20) + b"middle" + bytes(32 << 20)
    serve(api, ("sparse", 0, sparse), ("sparse", 1, sparse))
    assert grid("artifacts", NAME, "--download_dir", str(tmp_path / "down")).code == 0
    for place in ("sparse", "node1/sparse"):
        file = tmp_path / "down" / NAME / place
        assert file.read_bytes() == sparse
        assert file.stat().st_blocks * 512 < 8 << 20


def test_a_large_download_that_was_broken_off_goes_on_where_it_was(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    content = bytes(3 << 20) + b"end" * (1 << 20)
    serve(api, ("large", 0, content))
    down = tmp_path / "down"
    down.mkdir()
    (down / f".grid-partial-{hashlib.sha256(content).hexdigest()}").write_bytes(content[: 4 << 20])
    assert grid("artifacts", NAME, "--download_dir", str(down)).code == 0
    assert (down / NAME / "large").read_bytes() == content
    assert [asked.query["offset"] for asked in contents_asked(api)] == [str(4 << 20)]


def test_a_download_that_is_interrupted_says_how_it_goes_on(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    content = b"large" * 300_000
    serve(api, ("large", 0, content))
    answer = api.answers["GET", f"{ARTIFACTS}/0/content"]

    def interrupt(asked: Asked) -> bytes:
        os.kill(os.getpid(), signal.SIGINT)
        return answer(asked)

    api.on("GET", f"{ARTIFACTS}/0/content", interrupt)
    typed = grid("artifacts", NAME, "--download_dir", str(tmp_path / "down"))
    assert typed.code == 130
    assert "what came so far is kept: the same command goes on from there" in typed.err
    assert "interrupted" in typed.err
    api.on("GET", f"{ARTIFACTS}/0/content", answer)
    assert grid("artifacts", NAME, "--download_dir", str(tmp_path / "down")).code == 0
    assert (tmp_path / "down" / NAME / "large").read_bytes() == content


def test_nothing_that_matches_is_not_said_to_be_nothing(api: FakeApi, grid: Typist, tmp_path: Path) -> None:
    serve(api, ("x", 0, b"x"))
    for options in ((), ("--list",), ("--bucket_path",)):
        typed = grid("artifacts", NAME, "-m", "ckpt$", "--download_dir", str(tmp_path / "down"), *options)
        assert (typed.code, typed.out) == (0, "no artifact's path matches 'ckpt$'\n")
    serve(api)
    assert grid("artifacts", NAME).out == "no artifacts\n"


def test_links_are_made_for_what_matches_and_said_until_when(api: FakeApi, grid: Typist) -> None:
    serve(api, ("plot.png", 0, b"x"), ("last.ckpt", 0, b"y"))
    link = {"url": "https://grid.example/api/v1/shared/word", "expires_at": "2026-11-24T10:00:00.000Z"}
    api.on("POST", f"{ARTIFACTS}/0/links", (201, link))
    typed = grid("artifacts", NAME, "-m", "png", "--links")
    assert typed.out == f"{NAME}  plot.png\n  {link['url']}\n"
    assert "as it is now, until 2026-11-2" in typed.err
    (row,) = json.loads(grid("artifacts", NAME, "-m", "png", "--links", "-o", "json").out)["artifacts"]
    assert (row["path"], row["url"], row["expires_at"]) == ("plot.png", link["url"], link["expires_at"])
