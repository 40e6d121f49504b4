"""Ships files that grow to the server: by offset, lossless over server restarts. Most of them are ranks' output.

A thread of low priority looks at sizes, remembers when they grew, and sends what the server does not have yet. The
server's size is the truth: an upload that does not continue there is corrected by its answer.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from opengrid.client.http import Http
from opengrid.core.errors import GridError, Superseded, Unusable, UserError
from opengrid.core.masking import Masks
from opengrid.core.protocol import LOG_INDEX_HEADER
from opengrid.node.clock import ServerClock
from opengrid.node.link import Channel

STREAMS = ("stdout", "stderr")

#: How often sizes are looked at: the resolution of times in the index.
_LOOK_S = 0.1

#: Most bytes in one upload, and how many pending ones are sent without waiting for the interval.
CHUNK = 1 << 20

#: Most (offset, time) pairs kept per stream while the server is away; beyond it every second one is dropped.
_MOST_PAIRS = 4096


#: Most pairs in one upload: they travel in a header.
_PAIRS_A_CHUNK = 256


@dataclass(slots=True)
class Stream:
    """A file that grows, and how much of it the server has."""

    path: Path
    target: str  #: where the server takes it
    what: str  #: what it is, in a few words
    query: dict[str, str | int] = field(default_factory=dict[str, "str | int"])  #: what else the server must know
    waits_s: float = math.inf  #: it is sent after so long, however rarely others are
    size: int = 0  #: bytes seen in the file
    sent: int = 0  #: bytes that the server has
    times: list[tuple[int, int]] = field(default_factory=list[tuple[int, int]])  #: (offset, ns): from here on seen then
    is_shut: bool = False  #: nothing more can be sent: the server has more than we, say
    masks: Masks = field(default_factory=lambda: Masks(()))  #: secrets that the server does not get to see
    _due_at: float = math.inf

    @property
    def pending(self) -> int:
        """Bytes that the server does not have."""
        return 0 if self.is_shut else self.size - self.sent

    def look(self, now_ns: int, *, is_last: bool = False) -> None:
        """Notice growth; all there is, when it `is_last`."""
        size = os.stat(self.path).st_size
        if self.masks and size > self.size and not is_last:  # what may begin a secret waits for more
            start = max(0, size - 2 * self.masks.reach - 1)
            size = max(self.size, size - self.masks.held(self._bytes(start, size)))
        if size > self.size:
            self.grow(size, now_ns)

    def grow(self, size: int, now_ns: int) -> None:
        """Take in that there is more."""
        self.times.append((self.size, now_ns))
        if len(self.times) > _MOST_PAIRS:
            del self.times[1::2]
        self.size = size
        self._due_at = min(self._due_at, time.monotonic() + self.waits_s)

    @property
    def is_due(self) -> bool:
        """Whether some of it has waited for as long as it may."""
        return self.pending > 0 and time.monotonic() >= self._due_at

    def next_chunk(self) -> tuple[bytes, str]:
        """Return the bytes to send next and the index of their times."""
        end = self.sent + min(CHUNK, self.pending)
        pairs = [(max(offset, self.sent), ns) for offset, ns in self.times if offset < end]
        # Of those before what is sent next only the last one tells its time.
        first = max((i for i, (offset, _) in enumerate(pairs) if offset <= self.sent), default=0)
        pairs = pairs[first:]
        if len(pairs) > _PAIRS_A_CHUNK:
            end = pairs[_PAIRS_A_CHUNK][0]
        return self.read(end - self.sent), ",".join(f"{offset}:{ns}" for offset, ns in pairs[:_PAIRS_A_CHUNK])

    def read(self, size: int) -> bytes:
        """Return so many of the bytes that the server does not have."""
        start = max(0, self.sent - self.masks.reach)
        seen = self.masks.hide(self._bytes(start, self.sent + size + self.masks.reach))
        return seen[self.sent - start : self.sent - start + size]

    def _bytes(self, start: int, end: int) -> bytes:
        with self.path.open("rb") as file:
            return os.pread(file.fileno(), end - start, start)

    def refuse(self, error: GridError) -> None:
        """Hear that the server does not take it as it is; by default that is as if it were away."""
        raise error

    def acknowledge(self, size: int) -> None:
        """Take over what the server says it has."""
        self.sent, self._due_at = size, math.inf
        self.is_shut = size > self.size
        while len(self.times) > 1 and self.times[1][0] <= size:
            del self.times[0]


@dataclass(slots=True)
class Extra(Stream):
    """A file that nobody waits for: the server may refuse it."""

    def refuse(self, error: GridError) -> None:
        """Send no more of it; only a full disk may get better."""
        if isinstance(error, Unusable):
            raise error
        self.is_shut = True


class LogShipper:
    """One thread that ships all streams of this machine.

    It calls `on_drained` when everything is sent after drain(), `on_superseded` when the server refuses us for good.
    """

    def __init__(
        self,
        channel: Channel,
        clock: ServerClock,
        *,
        on_drained: Callable[[], None],
        on_superseded: Callable[[str], None],
        log: Callable[[str], None],
    ) -> None:
        self._channel, self._clock, self._log = channel, clock, log
        self._on_drained, self._on_superseded = on_drained, on_superseded
        self._streams: list[Stream] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._interval_s = 2.0
        self._flush_at = 0.0
        self._draining = False
        self._stopped = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="logs", daemon=True).start()

    def add(self, streams: Iterable[Stream]) -> None:
        """Ship these too, if that is not done yet; their files exist already."""
        with self._lock:
            known = {stream.path for stream in self._streams}
            self._streams += [stream for stream in streams if stream.path not in known]
        self._wake.set()

    def set_interval(self, seconds: float) -> None:
        """Send at least this often."""
        if seconds != self._interval_s:
            self._interval_s, self._flush_at = seconds, 0.0

    def flush(self) -> None:
        """Send everything soon, whatever the interval."""
        self._flush_at = 0.0
        self._wake.set()

    def drain(self) -> None:
        """Send everything to the last byte, then call on_drained. Nothing may be written any more."""
        self._draining = True
        self._wake.set()

    def stop(self) -> None:
        """Have the thread end."""
        self._stopped = True
        self._wake.set()

    def bytes_seen(self) -> int:
        """Return how much ranks have written in all, as of now."""
        with self._lock:
            streams = list(self._streams)
        for stream in streams:
            stream.look(self._clock.now_ns())
        return sum(stream.size for stream in streams)

    def _run(self) -> None:
        # Ranks come first: on Linux a thread has a priority of its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        while not self._stopped:
            with self._lock:
                streams = list(self._streams)
            # Before looking: what is told to be the end must be seen.
            draining = self._draining
            for stream in streams:
                stream.look(self._clock.now_ns(), is_last=draining)
            try:
                self._send_due(streams, everything=draining)
            except Superseded as error:
                self._on_superseded(error.message)
                return
            except GridError as error:
                if self._channel.away_since is not None and time.monotonic() - self._channel.away_since < _LOOK_S:
                    self._log(f"logs: {error.message}; trying again")
                self._channel.pause()
                continue
            if draining:
                self._on_drained()
                return
            # While ranks write much there is always something due: no pause but the look's own.
            self._wake.wait(_LOOK_S if streams else None)
            self._wake.clear()

    def _send_due(self, streams: list[Stream], *, everything: bool) -> None:
        now = time.monotonic()
        is_time = everything or now >= self._flush_at
        if is_time:
            self._flush_at = now + self._interval_s
        for stream in streams:
            first_bytes = stream.sent == 0 and stream.pending > 0
            is_due = is_time or first_bytes or stream.is_due
            while stream.pending >= CHUNK or (stream.pending > 0 and is_due):
                self._send(stream)

    def _send(self, stream: Stream) -> None:
        data, index = stream.next_chunk()
        try:
            size = self._channel.call(lambda http: _put(http, stream, data, index))
        except UserError as error:
            stream.refuse(error)
            self._log(f"not sending {stream.what}: {error.message}")
            return
        stream.acknowledge(size)
        if stream.is_shut:
            self._log(f"the server has {size} bytes of {stream.what}, more than were written")


def make_streams(folder: Path, generation: int, ranks: Iterable[int], masks: Masks) -> list[Stream]:
    """Make the empty files that ranks of a generation append to."""
    folder.mkdir(parents=True, exist_ok=True)
    streams = [_output(folder / f"{rank}.{name}", generation, rank, name, masks) for rank in ranks for name in STREAMS]
    for stream in streams:
        stream.path.touch(mode=0o600)
    return streams


def find_streams(spool: Path, masks: Masks) -> list[Stream]:
    """Return what lies in a spool: output of ranks of an agent that this one replaces. None of them is written to.

    How much of it the server has, its answers tell. The time of all that it lacks is that of the last byte.
    """
    found: list[Stream] = []
    for path in spool.glob("*/*.std*"):
        rank, _, name = path.name.partition(".")
        if path.parent.name.isdecimal() and rank.isdecimal() and name in STREAMS:
            stream = _output(path, int(path.parent.name), int(rank), name, masks)
            stream.look(path.stat().st_mtime_ns)
            found.append(stream)
    return found


def _output(path: Path, generation: int, rank: int, name: str, masks: Masks) -> Stream:
    target = f"/agent/v1/logs/{generation}/{rank}/{name}"
    return Stream(path=path, target=target, what=f"rank {rank}'s {name}", masks=masks)


def _put(http: Http, stream: Stream, data: bytes, index: str) -> int:
    response = http.request(
        "PUT",
        stream.target,
        query={**stream.query, "offset": stream.sent},
        body=data,
        headers={LOG_INDEX_HEADER: index},
        accept=(409,),
    )
    size = cast("dict[str, object]", response.json()).get("size")
    if not isinstance(size, int):
        raise GridError(f"the server's answer to an upload tells no size: {response.body[:80]!r}")
    return size
