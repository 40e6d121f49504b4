"""The server's clock as seen from here: estimated from the times that its answers carry."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable


class ServerClock:
    """Nanoseconds since the epoch as the server counts them. Readable from every thread."""

    def __init__(self, now_ns: Callable[[], int] = time.time_ns) -> None:
        self._now_ns = now_ns
        # An answer's time minus the time of its arrival: too small by the way it travelled, so the largest is the best
        # one. The last few only, for clocks drift.
        self._differences: deque[int] = deque(maxlen=16)
        self._shortest_way_ns: int | None = None
        self._offset_ns = 0

    def observe(self, server_ns: int, *, sent_ns: int, received_ns: int) -> None:
        """Take an answer into account. The server may have held it back however long before it wrote `server_ns`."""
        way_ns = max(0, received_ns - sent_ns) // 2
        if self._shortest_way_ns is None or way_ns < self._shortest_way_ns:
            self._shortest_way_ns = way_ns
        self._differences.append(server_ns - received_ns)
        self._offset_ns = max(self._differences) + self._shortest_way_ns

    def now_ns(self) -> int:
        """Return the server's time; this machine's own until the first answer."""
        return self._now_ns() + self._offset_ns
