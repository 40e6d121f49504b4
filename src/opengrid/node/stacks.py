"""Answers a request for stacks: waits until each rank has written its own to its file, and sends what is new there."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.codec import to_json
from opengrid.core.errors import GridError
from opengrid.core.protocol import MOST_STACKS_BYTES, RankStacks, Stacks
from opengrid.node import spawn
from opengrid.node.link import Channel

#: How long ranks have to answer.
_ANSWER_S = 3.0

#: How often files are looked at; one that has grown, and not since the last look, is complete.
_LOOK_S = 0.1

#: What a process that does not answer may be doing, by its state in /proc.
_DOING = {"D": "it waits in the kernel", "T": "it has been stopped by a signal", "t": "a debugger holds it"}


@dataclass(frozen=True, slots=True)
class AskedRank:
    """One rank that was asked to write its stacks, or why it was not."""

    rank: int
    pid: int
    file: Path  #: that it appends to
    offset: int  #: the file's size before
    folder: Path  #: of its node
    reason: str  #: why it was not asked

    @classmethod
    def now(cls, rank: int, *, pid: int, file: Path, folder: Path, reason: str) -> AskedRank:
        """Return a rank that is about to be asked: what its file holds now is no answer."""
        return cls(rank, pid, file, _size(file), folder, reason)


class StackSender:
    """Answers one request after the other, each in a thread of its own, without blocking the caller.

    `on_idle` is called from that thread when the next request can be answered.
    """

    def __init__(self, channel: Channel, *, on_idle: Callable[[], None], log: Callable[[str], None]) -> None:
        self._channel, self._on_idle, self._log = channel, on_idle, log
        self._answered = 0
        self._is_busy = False

    def is_due(self, number: int) -> bool:
        """Whether a request is new, and no other is being answered."""
        return number > self._answered and not self._is_busy

    def answer(self, number: int, asked: Sequence[AskedRank]) -> None:
        """Wait for the ranks' answers and send them, once: who misses them asks again."""
        self._answered, self._is_busy = number, True
        threading.Thread(target=self._answer, args=(number, asked), name="stacks", daemon=True).start()

    def _answer(self, number: int, asked: Sequence[AskedRank]) -> None:
        message = Stacks(number=number, ranks=tuple(collect(asked)))
        try:
            self._channel.call(lambda http: http.request("POST", "/agent/v1/stacks", json=to_json(message)))
        except GridError as error:
            self._log(f"stacks: {error.message}")
        self._channel.close()  # requests are rare
        self._is_busy = False
        self._on_idle()


def collect(asked: Sequence[AskedRank], *, timeout_s: float = _ANSWER_S) -> list[RankStacks]:
    """Return what each rank wrote. Blocks until all have, and at most for the time given."""
    deadline = time.monotonic() + timeout_s
    sizes = {one.rank: one.offset for one in asked}
    waiting = [one for one in asked if not one.reason]
    while waiting and time.monotonic() < deadline:
        time.sleep(_LOOK_S)
        seen = {one.rank: _size(one.file) for one in waiting}
        waiting = [one for one in waiting if seen[one.rank] == one.offset or seen[one.rank] != sizes[one.rank]]
        sizes.update(seen)
    return [_answer_of(one, timeout_s) for one in asked]


def _answer_of(one: AskedRank, timeout_s: float) -> RankStacks:
    reason = one.reason
    text = "" if reason else _text(one)
    if not reason and not text:
        reason = _silence(one.pid, timeout_s)
    return RankStacks(rank=one.rank, text=text, reason=reason, folder=os.path.realpath(one.folder))


def _silence(pid: int, timeout_s: float) -> str:
    process = spawn.process(pid)
    if process is None or process.state == "Z":
        return "it has ended"
    doing = _DOING.get(process.state)
    return f"it did not answer within {timeout_s:g} s" + (f": {doing}" if doing else "")


def _text(one: AskedRank) -> str:
    try:
        with one.file.open("rb") as file:
            file.seek(max(one.offset, _size(one.file) - MOST_STACKS_BYTES))
            return file.read(MOST_STACKS_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0  # the rank has not opened it yet
