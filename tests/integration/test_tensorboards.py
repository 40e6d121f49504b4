"""Real TensorBoards, each a process that shows what experiments have written, and is gone when nobody looks."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.test_scalars_service import NAME, World
from tests.support.events import scalars
from tests.support.processes import is_alive, wait_until

from opengrid.core.errors import GridError, NotFound, Unusable
from opengrid.services import tensorboards
from opengrid.services.tensorboards import TensorBoards, prefix


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.database.close()


@pytest.fixture
def boards(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[TensorBoards]:
    monkeypatch.setattr(tensorboards, "_LINKS_S", 0.0)
    boards = TensorBoards(world.database, world.files, world.folder / "tensorboard", idle_s=0.0)
    yield boards
    boards.close()


def ask(boards: TensorBoards, view: str, what: str) -> Any:
    reply = boards.ask(view, "GET", f"{prefix(view)}/{what}", {"accept": "*/*", "cookie": "secret"}, b"")
    assert reply.status == 200
    assert "set-cookie" not in {name.lower() for name in reply.headers}
    return json.loads(reply.body)


def test_it_shows_series_as_we_call_them_and_what_comes_later(world: World, boards: TensorBoards) -> None:
    world.send(scalars("loss", range(3)), "logs/train/tfevents.1")
    world.send(scalars("loss", range(3)), "logs/validation/tfevents.1")
    world.reader.catch_up([world.experiments[0].id])
    view = boards.open(["brave-otter"]).view
    assert boards.open(["brave-otter", "brave-otter"]).view == view
    wait_until(lambda: sorted(ask(boards, view, "data/runs")) == [f"{NAME}/train", f"{NAME}/validation"])
    wait_until(lambda: "loss" in ask(boards, view, "data/plugin/scalars/tags").get(f"{NAME}/train", {}))
    world.send(scalars("acc", range(3)), experiment=1)
    world.reader.catch_up([world.experiments[1].id])
    wait_until(lambda: "brave-otter-exp1" in ask(boards, view, "data/runs"))
    page = boards.ask(view, "GET", f"{prefix(view)}/", {}, b"")
    assert b"<title>TensorBoard</title>" in page.body
    fonts = re.findall(r"url\((/[^)]+)\)", page.body.decode())
    assert boards.ask(view, "GET", fonts[0], {}, b"").status == 200
    assert all(font.startswith(f"{prefix(view)}/") for font in fonts)
    assert boards.ask(view, "GET", "/elsewhere", {}, b"").status == 404


def test_one_that_nobody_looks_at_is_ended_and_starts_again_when_asked_even_after_the_server_did(
    world: World, boards: TensorBoards
) -> None:
    world.send(scalars("loss", range(3)))
    view = boards.open([NAME]).view
    first = boards._views[view].process
    assert first is not None
    boards.end_idle()
    assert not is_alive(first.pid)
    later = TensorBoards(world.database, world.files, world.folder / "tensorboard")
    try:
        wait_until(lambda: ask(later, view, "data/runs") == [NAME])
        second = later._views[view].process
        assert second is not None
        second.stdin.close()  # as when the server dies, however it dies
        assert second.wait(30) == 0
        wait_until(lambda: ask(later, view, "data/runs") == [NAME])
    finally:
        later.close()


def test_names_that_are_none_and_views_that_nobody_opened_are_refused(boards: TensorBoards) -> None:
    with pytest.raises(NotFound):
        boards.open(["brave-otter-exp9"])
    for view in ("0" * 16, "../secret", "", "x" * 16):
        with pytest.raises(NotFound, match="there is no TensorBoard"):
            boards.ask(view, "GET", "/", {}, b"")


def test_too_many_experiments_are_refused(boards: TensorBoards, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tensorboards, "MOST_EXPERIMENTS", 1)
    with pytest.raises(Unusable, match="2 experiments are too many"):
        boards.open(["brave-otter"])


def test_one_that_cannot_start_says_why(world: World, boards: TensorBoards, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = world.folder / "python"
    fake.write_text("#!/bin/sh\necho 'no module named tensorboard' >&2\n")
    os.chmod(fake, 0o755)
    monkeypatch.setattr("sys.executable", str(fake))
    with pytest.raises(GridError, match="did not start: no module named tensorboard"):
        boards.open([NAME])
