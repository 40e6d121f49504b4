"""One stream of events per viewer, many subjects in it: what changed is found once, and sent to all who watch.

Events are numbered, and the newest are kept, so that a viewer whose connection broke gets what it missed: its topic is
then *fresh*. A topic is watched for a while after its last viewer has left, for the same reason. Who was away too long,
or knew another server, is told that its topics are not fresh, and asks for them anew. A viewer costs a queue and a
coroutine; it holds neither a thread nor a database connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter

from opengrid.core.errors import InvalidValue
from opengrid.server.wakeups import Wakeups
from opengrid.services.documents.changes import Ready, Reset, TopicState
from opengrid.services.feeds import Change, Feed

log = structlog.get_logger(__name__)

#: A subject is looked at this often though nobody said that it has changed.
_LOOK_S = 2.0

#: A topic is watched so long after its last viewer has left.
_LINGER_S = 60.0

#: Silence is broken so often, so that both sides notice a broken connection.
_KEEP_ALIVE_S = 15.0

#: Events that are kept, and bytes that may wait for one viewer.
_KEPT, _MOST_WAITING = 2000, 1 << 20

_MOST_TOPICS = 30

_DOCUMENT: TypeAdapter[Change | Ready | Reset] = TypeAdapter(Change | Ready | Reset)


@dataclass(eq=False, slots=True)
class _Viewer:
    """Whoever is connected, and what waits for it."""

    waiting: list[bytes] = field(default_factory=list[bytes])
    size: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def push(self, event: bytes, reset: bytes) -> None:
        """Add an event; what nobody fetches is dropped, and the viewer told so."""
        if self.size + len(event) > _MOST_WAITING:
            self.waiting, self.size = [reset], 0
        self.waiting.append(event)
        self.size += len(event)
        self.news.set()

    def take(self) -> bytes:
        """Return all that waits."""
        taken = b"".join(self.waiting)
        self.waiting, self.size = [], 0
        self.news.clear()
        return taken


@dataclass(eq=False, slots=True)
class _Topic:
    """A subject that is watched."""

    feed: Feed
    viewers: set[_Viewer] = field(default_factory=set[_Viewer])
    left_at: float = 0.0  #: when its last viewer left
    began: int = 0  #: number of the moment at which watching began
    has_begun: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None


class Stream:
    """All viewers and what they watch. To be used on the server's event loop.

    `feeds` has for each kind of topic what makes the feed of one, from the topic and from the name in it: `runs` has
    none, `run:` has one.
    """

    def __init__(self, feeds: Mapping[str, Callable[[str, str], Feed]], wakeups: Wakeups) -> None:
        self._feeds, self._wakeups = feeds, wakeups
        self._boot = secrets.token_hex(4)
        self._number = 0  #: of the newest event
        self._dropped = 0  #: of the newest that is not kept any more
        self._kept: deque[tuple[int, str, bytes]] = deque(maxlen=_KEPT)
        self._topics: dict[str, _Topic] = {}
        self._viewers: set[_Viewer] = set()

    @property
    def has_viewers(self) -> bool:
        """Whether anybody is connected."""
        return bool(self._viewers)

    def check(self, topics: Sequence[str]) -> None:
        """Raise InvalidValue for topics that cannot be watched."""
        if not 0 < len(topics) <= _MOST_TOPICS:
            raise InvalidValue(f"{len(topics)} topics: from 1 to {_MOST_TOPICS} can be watched", field="topic")
        for topic in topics:
            kind, name = _parts(topic)
            if kind not in self._feeds or kind.endswith(":") != bool(name):
                known = ", ".join(f"{kind}NAME" if kind.endswith(":") else kind for kind in self._feeds)
                raise InvalidValue(f"{topic[:100]!r} cannot be watched", hint=f"what can: {known}", field="topic")

    async def connect(
        self, topics: Sequence[str], last_event_id: str, is_welcome: Callable[[], bool]
    ) -> AsyncIterator[bytes]:
        """Yield the stream: what was missed since the last event that the viewer has, then what comes.

        `is_welcome` is asked now and then whether the viewer may still see it.
        """
        wanted = list(dict.fromkeys(topics))
        viewer = _Viewer()
        self._viewers.add(viewer)
        try:
            for topic in wanted:
                await self._join(topic, viewer)
            missed = self._missed(wanted, last_event_id)
            viewer.take()  # what came while joining is among what was missed, or the viewer asks anew
            states = [TopicState(topic=topic, fresh=self._is_fresh(topic, last_event_id)) for topic in wanted]
            yield self._encoded("ready", Ready(topics=states)) + missed
            while not self._wakeups.is_closing and is_welcome():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(viewer.news.wait(), _KEEP_ALIVE_S)
                yield viewer.take() or b": still here\n\n"
        finally:
            self._viewers.discard(viewer)
            for topic in wanted:
                self._leave(topic, viewer)

    def close(self) -> None:
        """Let all viewers go: the server is shutting down, and has closed its wake-ups."""
        for viewer in self._viewers:
            viewer.news.set()

    def watchers(self) -> list[asyncio.Task[None]]:
        """Return what looks at the subjects: to be cancelled, and waited for, when no viewer is left."""
        return [topic.task for topic in self._topics.values() if topic.task is not None]

    async def _join(self, name: str, viewer: _Viewer) -> None:
        topic = self._topics.get(name)
        if topic is None:
            kind, subject = _parts(name)
            topic = self._topics[name] = _Topic(feed=self._feeds[kind](name, subject))
            topic.task = asyncio.create_task(self._watch(name, topic))
        topic.viewers.add(viewer)
        await topic.has_begun.wait()

    def _leave(self, name: str, viewer: _Viewer) -> None:
        topic = self._topics.get(name)
        if topic is not None:
            topic.viewers.discard(viewer)
            topic.left_at = time.monotonic()

    def _is_fresh(self, name: str, last_event_id: str) -> bool:
        """Whether everything of a topic that came after an event is still kept."""
        number = self._number_of(last_event_id)
        return number is not None and number >= max(self._dropped, self._topics[name].began)

    def _missed(self, topics: Sequence[str], last_event_id: str) -> bytes:
        number = self._number_of(last_event_id)
        fresh = {topic for topic in topics if self._is_fresh(topic, last_event_id)}
        return b"".join(
            event for at, topic, event in self._kept if number is not None and at > number and topic in fresh
        )

    def _number_of(self, event_id: str) -> int | None:
        boot, _, number = event_id.partition("-")
        if boot != self._boot or not number.isdecimal() or int(number) > self._number:
            return None
        return int(number)

    def _encoded(self, event: str, document: Change | Ready | Reset) -> bytes:
        head = f"id: {self._boot}-{self._number}\nevent: {event}\ndata: "
        return head.encode() + _DOCUMENT.dump_json(document, by_alias=True) + b"\n\n"

    def _publish(self, name: str, topic: _Topic, change: Change) -> None:
        self._number += 1
        event = self._encoded("change", change)
        if len(self._kept) == self._kept.maxlen:
            self._dropped = self._kept[0][0]
        self._kept.append((self._number, name, event))
        reset = self._encoded("reset", Reset())
        for viewer in topic.viewers:
            viewer.push(event, reset)

    async def _watch(self, name: str, topic: _Topic) -> None:
        """Look at a subject whenever something may have changed, until nobody has watched for a while."""
        is_wanted = True
        try:
            while is_wanted:
                looked_at = time.monotonic()
                with self._wakeups.watching(*topic.feed.keys) as event:
                    change = await self._look(name, topic.feed)
                    if not topic.has_begun.is_set():
                        self._number += 1  # whoever has seen less may have missed something before
                        topic.began = self._number
                        topic.has_begun.set()
                    elif change is not None:
                        self._publish(name, topic, change)
                    with contextlib.suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(event.wait(), _LOOK_S)
                await asyncio.sleep(max(0.0, looked_at + topic.feed.pause_s - time.monotonic()))
                has_lingered = not topic.viewers and time.monotonic() - topic.left_at >= _LINGER_S
                # wait_for() may lose a cancellation that comes together with the event.
                is_wanted = not (has_lingered or self._wakeups.is_closing)
        finally:
            if self._topics.get(name) is topic:
                del self._topics[name]
            topic.feed.close()

    async def _look(self, name: str, feed: Feed) -> Change | None:
        try:
            return await run_in_threadpool(feed.look)
        except Exception:  # the loop's edge: one broken subject must not end the stream of all
            log.exception("a feed failed", topic=name)
            return None


def _parts(topic: str) -> tuple[str, str]:
    kind, colon, name = topic.partition(":")
    return kind + colon, name
