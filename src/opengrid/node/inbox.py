"""What the agent's loop hears of: the desired state, and what its threads have done."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from dataclasses import dataclass

from opengrid.core.protocol import Desired, Restore, Unsaved, Waits
from opengrid.node.readying import Failed, Ready


@dataclass(frozen=True, slots=True)
class RefusedForGood:
    """The server knows our attempt no more."""

    message: str


@dataclass(frozen=True, slots=True)
class Drained:
    """A thread has sent all there was."""

    what: str  #: logs | artifacts
    unsaved: Unsaved | None = None


@dataclass(frozen=True, slots=True)
class PutBackDone:
    """What the generation goes on from lies in the work folders."""

    generation: int
    restore: Restore
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ActionsEnded:
    """What the user has come after the last ranks is done."""


@dataclass(frozen=True, slots=True)
class Terminated:
    """Somebody sent us SIGTERM: this machine goes away."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """Whoever held this machine for us is gone, and with it our right to it."""


@dataclass(frozen=True, slots=True)
class Crashed:
    """A thread of ours failed."""

    message: str


News = (
    Desired
    | Ready
    | Waits
    | Failed
    | PutBackDone
    | RefusedForGood
    | Drained
    | ActionsEnded
    | Terminated
    | LetGo
    | Crashed
)


class Inbox:
    """News from other threads, with a descriptor to wait on."""

    def __init__(self) -> None:
        self._news: deque[News] = deque()
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)

    def fileno(self) -> int:
        """Return the descriptor that can be read when there is news."""
        return self._reader

    def put(self, news: News | None = None) -> None:
        """Add news, or only wake the loop."""
        if news is not None:
            self._news.append(news)
        with contextlib.suppress(BlockingIOError):  # full of wake-ups already
            os.write(self._writer, b".")

    def take(self) -> list[News]:
        """Return all news since the last call."""
        with contextlib.suppress(BlockingIOError):
            while os.read(self._reader, 4096):
                pass
        return [self._news.popleft() for _ in range(len(self._news))]
