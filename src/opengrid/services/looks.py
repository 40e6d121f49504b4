"""What several machines of a gang ask for at the same time is looked at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from opengrid.core.errors import GridError


@dataclass(slots=True)
class _Look:
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_over: bool = False
    error: GridError | None = None
    stands_until: float = float("inf")  #: while it lasts


class Looks:
    """Remembers for so many seconds that something was looked at and in order. For any thread."""

    def __init__(self, stands_s: float, *, clock: Callable[[], float]) -> None:
        self._stands_s, self._clock = stands_s, clock
        self._lock = threading.Lock()
        self._looks: dict[Hashable, _Look] = {}

    def once(self, key: Hashable, look: Callable[[], None]) -> None:
        """Look, unless that has just been done. Who comes meanwhile waits for it, and hears the same GridError."""
        with self._lock:
            now = self._clock()
            self._looks = {known: one for known, one in self._looks.items() if one.stands_until > now}
            found = self._looks.setdefault(key, _Look())
        with found.lock:
            if not found.is_over:
                self._make(found, look)
            if found.error is not None:
                raise found.error

    def _make(self, found: _Look, look: Callable[[], None]) -> None:
        stands_s = 0.0
        try:
            look()
            stands_s, found.is_over = self._stands_s, True
        except GridError as error:
            found.error, found.is_over = error, True
        finally:
            found.stands_until = self._clock() + stands_s
