"""server.stream: nothing is lost or comes twice, whoever leaves and comes back; one look serves all."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from opengrid.core.errors import InvalidValue
from opengrid.server import stream as module
from opengrid.server.stream import Stream
from opengrid.server.wakeups import Wakeups
from opengrid.services.documents.changes import Hint


@dataclass
class FakeFeed:
    """Counts: each look tells every number since the last one's as one change."""

    topic: str
    number: int = 0
    seen: int | None = None
    looks: int = 0
    looked: threading.Event = field(default_factory=threading.Event)
    is_closed: bool = False
    pause_s: float = 0.0
    keys: tuple[str, ...] = ("fake",)
    padding: int = 0

    def look(self) -> Hint | None:
        self.looks += 1
        self.looked.set()
        before, self.seen = self.seen, self.number
        if before in (None, self.number):
            return None
        return Hint(topic=self.topic, version=f"{self.number}{'x' * self.padding}")

    def close(self) -> None:
        self.is_closed = True


@dataclass
class World:
    """A stream whose only subjects are fakes."""

    wakeups: Wakeups = field(default_factory=Wakeups)
    feeds: dict[str, FakeFeed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.wakeups.bind(asyncio.get_running_loop())
        self.stream = Stream({"all": self.make, "one:": self.make}, self.wakeups)

    def make(self, topic: str, _: str) -> FakeFeed:
        self.feeds[topic] = FakeFeed(topic)
        return self.feeds[topic]

    def connect(self, *topics: str, last: str = "", is_welcome: Callable[[], bool] = lambda: True) -> Viewer:
        return Viewer(self.stream.connect(topics, last, is_welcome))

    def change(self, topic: str) -> None:
        self.feeds[topic].number += 1
        self.wakeups.notify("fake")


class Viewer:
    """Reads events one by one."""

    def __init__(self, blocks: AsyncIterator[bytes]) -> None:
        self.blocks, self.last, self.read = blocks, "", b""

    async def next(self) -> dict[str, Any]:
        while b"\n\n" not in self.read:
            self.read += await asyncio.wait_for(anext(self.blocks), 30)
        event, _, self.read = self.read.partition(b"\n\n")
        lines = dict(line.split(": ", 1) for line in event.decode().splitlines())
        if "data" not in lines:
            return await self.next()
        self.last = lines["id"]
        document = json.loads(lines["data"])
        assert lines["event"] == ("change" if document["kind"] == "hint" else document["kind"])
        return document

    async def versions(self, number: int) -> list[str]:
        return [(await self.next())["version"] for _ in range(number)]

    async def fresh(self) -> dict[str, bool]:
        """Read the first event."""
        return {state["topic"]: state["fresh"] for state in (await self.next())["topics"]}

    async def close(self) -> None:
        await self.blocks.aclose()  # type: ignore[attr-defined]


def run(story: Callable[[World], Awaitable[None]]) -> None:
    async def told() -> None:
        world = World()
        try:
            await story(world)
        finally:
            world.wakeups.close()
            world.stream.close()

    asyncio.run(told())


def test_viewers_of_a_topic_get_every_change_of_one_look() -> None:
    async def story(world: World) -> None:
        one, other, stranger = world.connect("all"), world.connect("all"), world.connect("one:x")
        assert await one.fresh() == await other.fresh() == {"all": False}
        assert await stranger.fresh() == {"one:x": False}
        world.change("all")
        assert await one.versions(1) == await other.versions(1) == ["1"]
        world.change("one:x")
        assert await stranger.next() == {"kind": "hint", "topic": "one:x", "version": "1"}
        looks = world.feeds["all"].looks
        assert looks <= 4, "one for the beginning, and one for each time that something changed"

    run(story)


def test_who_comes_back_gets_what_was_missed_once_and_in_order() -> None:
    async def story(world: World) -> None:
        viewer, other = world.connect("all", "one:x"), world.connect("all", "one:x")
        await viewer.fresh(), await other.fresh()
        world.change("all")
        assert await viewer.versions(1) == await other.versions(1) == ["1"]
        await viewer.close()
        for _ in range(3):
            world.change("one:x")
            await other.next()
        again = world.connect("all", "one:x", last=viewer.last)
        assert await again.fresh() == {"all": True, "one:x": True}
        assert await again.versions(3) == ["1", "2", "3"]
        world.change("all")
        assert await again.versions(1) == ["2"]

    run(story)


def test_a_topic_is_watched_on_for_a_while_so_that_a_lonely_viewer_misses_nothing() -> None:
    async def story(world: World) -> None:
        viewer = world.connect("all")
        await viewer.fresh()
        await viewer.close()
        world.feeds["all"].looked.clear()
        world.change("all")
        assert await asyncio.to_thread(world.feeds["all"].looked.wait, 30)
        again = world.connect("all", last=viewer.last)
        assert await again.fresh() == {"all": True}
        assert await again.versions(1) == ["1"]

    run(story)


def test_who_knows_another_server_or_comes_too_late_is_told_to_ask_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        viewer, other = world.connect("all"), world.connect("all")
        await viewer.fresh(), await other.fresh()
        await viewer.close()
        for last in ("", "nonsense", "0123abcd-0", f"{viewer.last}9"):
            assert await world.connect("all", last=last).fresh() == {"all": False}, last
        late = viewer.last
        for _ in range(3):  # more than are kept
            world.change("all")
            await other.next()
        assert await world.connect("all", last=late).fresh() == {"all": False}
        assert await world.connect("all", last=other.last).fresh() == {"all": True}
        # A topic that nobody watched before has nothing to replay.
        assert (await world.connect("one:new", last=late).fresh())["one:new"] is False

    monkeypatch.setattr(module, "_KEPT", 2)
    run(story)


def test_whoever_reads_too_slowly_is_reset_and_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        slow, quick = world.connect("all"), world.connect("all")
        await slow.fresh(), await quick.fresh()
        world.feeds["all"].padding = 400
        for _ in range(5):
            world.change("all")
            await quick.next()
        assert (await slow.next())["kind"] == "reset"
        assert (await slow.next())["version"].startswith(("3", "4", "5"))

    monkeypatch.setattr(module, "_MOST_WAITING", 1500)
    run(story)


def test_a_viewer_whose_session_ends_or_whose_server_stops_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        welcome = [True]
        viewer, other = world.connect("all", is_welcome=lambda: welcome[0]), world.connect("all")
        await viewer.fresh(), await other.fresh()
        welcome[0] = False
        with pytest.raises(StopAsyncIteration):
            await viewer.next()
        assert world.stream.has_viewers
        world.wakeups.close()
        world.stream.close()
        with pytest.raises(StopAsyncIteration):
            await other.next()
        assert not world.stream.has_viewers

    monkeypatch.setattr(module, "_KEEP_ALIVE_S", 0.01)
    run(story)


def test_a_subject_that_fails_ends_nothing() -> None:
    async def story(world: World) -> None:
        viewer = world.connect("all", "one:x")
        await viewer.fresh()
        world.feeds["all"].look = None  # type: ignore[method-assign, assignment]
        world.change("one:x")
        assert await viewer.versions(1) == ["1"]

    run(story)


def test_a_topic_ends_when_nobody_has_watched_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        viewer = world.connect("all")
        await viewer.fresh()
        await viewer.close()
        feed = world.feeds["all"]
        while not feed.is_closed:
            world.change("all")
            await asyncio.sleep(0.01)
        assert await world.connect("all", last=viewer.last).fresh() == {"all": False}

    monkeypatch.setattr(module, "_LINGER_S", 0.0)
    run(story)


@pytest.mark.parametrize("topics", [[], ["nosuch"], ["all:x"], ["one"], ["one:"], ["all"] * 31])
def test_what_cannot_be_watched_is_refused(topics: list[str]) -> None:
    async def story(world: World) -> None:
        with pytest.raises(InvalidValue):
            world.stream.check(topics)
        world.stream.check(["all", "one:x"])

    run(story)
