"""Processes end when what they live on is gone for good, and not because a disk is slow to answer."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from opengrid.core.gone import GoneWatch, is_missing, missing_one
from opengrid.server.presence import Presence
from opengrid.server.settings import Settings


def test_what_has_been_missing_for_the_whole_limit_is_gone() -> None:
    missing: list[str | None] = ["/home", "/home", None, "/home", "/home", "/state"]
    watch = GoneWatch(lambda: missing.pop(0), limit_s=20.0)
    assert [watch.look(now) for now in (0.0, 19.0, 21.0, 25.0, 44.0, 45.0)] == [None] * 5 + ["/state"]


def test_only_certain_absence_is_absence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert [is_missing(tmp_path / name) for name in ("file", "none", "none/below", "file/below")] == [False] + 3 * [
        True
    ]
    assert not is_missing(tmp_path / ("x" * 300)), "a name that cannot be looked up says nothing"
    assert missing_one([tmp_path, tmp_path / "none"]) == str(tmp_path / "none")
    assert missing_one([tmp_path]) is None


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a server with home and state apart."""
    made = Settings(home=tmp_path / "home", state=tmp_path / "state", cache=tmp_path)
    made.home.mkdir()
    made.state.mkdir()
    made.token_file.touch()
    made.secret_file.touch()
    return made


def _ends(presence: Presence, within_s: float = 60.0) -> bool:
    """Whether the server is stopped in time; it looks a thousand times a second."""

    async def wait() -> None:
        stopped = asyncio.Event()
        watching = asyncio.create_task(presence.end_when_gone(stopped.set, look_s=0.001, gone_s=0.002))
        try:
            await asyncio.wait_for(stopped.wait(), within_s)
        finally:
            watching.cancel()

    try:
        asyncio.run(wait())
    except asyncio.TimeoutError:
        return False
    return True


def test_a_server_goes_on_in_its_home_even_if_nobody_tells_where_it_is(settings: Settings) -> None:
    presence = Presence(settings)
    presence.announce({"pid": 1})
    assert json.loads(settings.server_file.read_text()) == {"pid": 1}
    assert settings.server_file.stat().st_mode & 0o077 == 0
    settings.server_file.unlink()
    assert not _ends(presence, 0.1)


@pytest.mark.parametrize("folder", ["home", "state"])
def test_a_server_ends_with_its_folders(settings: Settings, folder: str) -> None:
    presence = Presence(settings)
    presence.announce({"pid": 1})
    shutil.rmtree(getattr(settings, folder))
    getattr(settings, folder).mkdir()  # by a thread that has not noticed
    assert _ends(presence)


def test_a_server_leaves_its_home_to_another_one_that_has_taken_it(settings: Settings) -> None:
    first, second = Presence(settings), Presence(settings)
    first.announce({"pid": 1})
    second.announce({"pid": 2})
    assert _ends(first)
    first.withdraw()
    assert json.loads(settings.server_file.read_text()) == {"pid": 2}
    second.withdraw()
    assert not settings.server_file.exists()
