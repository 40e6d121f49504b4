"""An agent's end of the connection to its launcher: starts, signals and ends ranks, and hears of them."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Union

from opengrid.core.errors import GridError
from opengrid.node.preload.messages import (
    AskMet,
    Clear,
    Cleared,
    DumpStacks,
    LauncherReady,
    LineReader,
    OpenStore,
    RankExited,
    RankStart,
    RankStarted,
    Reply,
    Request,
    SignalRanks,
    StartRanks,
    StoreFailed,
    StoreMet,
    StoreOpened,
    decode_reply,
    encode,
)

Event = Union[RankStarted, RankExited, Cleared, StoreFailed, "LauncherLost"]


class PreloadFailed(GridError):
    """A template, launcher or store could not be started; the message ends with what its log says."""

    code = "preload_failed"


@dataclass(frozen=True, slots=True)
class LauncherLost:
    """The launcher is gone: its ranks die with it, and `sweep` should make sure of it. The last event."""


class Launcher:
    """An agent's launcher. Not thread-safe: one thread calls start, clear, events and the rest.

    Ranks, store and all their descendants die when this object's connection closes: by close(), or with this process.
    Calls on a lost launcher do nothing, but open_store and store_met, which raise; events() tells the loss.
    """

    def __init__(self, connection: socket.socket, ready: LauncherReady) -> None:
        self.ready = ready  #: its pid, its template's pid, modules that could not be preloaded
        self._connection = connection
        self._lines = LineReader(connection)
        self._events: deque[Event] = deque()
        self._answers: deque[StoreOpened | StoreMet | StoreFailed] = deque()
        self._opening = False
        self._lost = False

    def fileno(self) -> int:
        """Return a descriptor that is readable when events() has something to read.

        open_store and store_met may put events aside while they wait: call events() after them too.
        """
        return self._connection.fileno()

    def start(self, ranks: Sequence[RankStart]) -> None:
        """Start ranks; for each, RankStarted follows, and one day RankExited. Numbers of living ranks must differ.

        A process that the kernel refuses to make is told by RankExited alone, with CANNOT_START and pid 0.
        """
        self._send(StartRanks(ranks=tuple(ranks)))

    def signal(self, number: int, ranks: Sequence[int] | None = None) -> None:
        """Signal the process groups of all living ranks, or of some. SIGKILL reaches groups and descendants too."""
        self._send(SignalRanks(signal=int(number), ranks=None if ranks is None else tuple(ranks)))

    def dump_stacks(self, ranks: Sequence[int] | None = None) -> None:
        """Have living Python ranks append all threads' stacks to their `stacks` files, a moment later."""
        self._send(DumpStacks(ranks=None if ranks is None else tuple(ranks)))

    def clear(self) -> None:
        """SIGKILL all ranks and whatever ranks left behind, at any depth; the store stays.

        Cleared follows when all are reaped. Call it at the end of every generation: a rank that exited may have left
        children.
        """
        self._send(Clear())

    def open_store(self, address: str, title: str, *, timeout_s: float = 30.0) -> int:
        """End the last generation's store, open a new one and return its port. PreloadFailed when that fails."""
        self._opening = True
        try:
            self._send(OpenStore(address=address, title=title, timeout_s=timeout_s))
            answer = self._wait(lambda a: not isinstance(a, StoreMet), timeout_s + 30)  # torch may have to be loaded
        finally:
            self._opening = False
        if isinstance(answer, StoreOpened):
            return answer.port
        raise PreloadFailed(
            f"no rendezvous store: {answer.message if isinstance(answer, StoreFailed) else 'no answer'}"
        )

    def store_met(self, *, timeout_s: float = 10.0) -> bool | None:
        """Tell whether any rank ever connected to the current store; None when there is none."""
        self._send(AskMet())
        answer = self._wait(lambda a: isinstance(a, StoreMet), timeout_s)
        return answer.met if isinstance(answer, StoreMet) else None

    def events(self) -> list[Event]:
        """Return what happened since the last call, in order, without blocking. LauncherLost comes once, last."""
        while not self._lost and _can_read(self._connection, 0):
            self._receive()
        happened = list(self._events)
        self._events.clear()
        return happened

    def close(self, *, timeout_s: float = 35.0) -> None:
        """End everything below the launcher and the launcher; returns when they are gone (or stuck in the kernel)."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_WR)
        deadline = time.monotonic() + timeout_s
        while not self._lost and _can_read(self._connection, deadline - time.monotonic()):
            self._receive()
        self._connection.close()
        self._lost = True

    def _send(self, request: Request) -> None:
        if self._lost:
            return
        with contextlib.suppress(OSError):  # the loss is found when what it still had to say has been read
            self._connection.sendall(encode(request))

    def _wait(
        self, wanted: Callable[[StoreOpened | StoreMet | StoreFailed], bool], timeout_s: float
    ) -> StoreOpened | StoreMet | StoreFailed:
        deadline = time.monotonic() + timeout_s
        self._answers.clear()
        while not self._lost and time.monotonic() < deadline:
            if _can_read(self._connection, deadline - time.monotonic()):
                self._receive()
            for answer in self._answers:
                if wanted(answer):
                    return answer
        raise PreloadFailed("the launcher is gone" if self._lost else f"the launcher is silent for {timeout_s:g} s")

    def _receive(self) -> None:
        lines = self._lines.read()
        if lines is None:
            self._lose()
            return
        for line in lines:
            self._sort(decode_reply(line))

    def _sort(self, reply: Reply) -> None:
        if isinstance(reply, (StoreOpened, StoreMet)) or (isinstance(reply, StoreFailed) and self._opening):
            self._answers.append(reply)
        elif not isinstance(reply, LauncherReady):
            self._events.append(reply)

    def _lose(self) -> None:
        self._lost = True
        self._events.append(LauncherLost())


def _can_read(connection: socket.socket, timeout_s: float) -> bool:
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(max(0.0, timeout_s) * 1000))
