"""How far something is that moves bytes: a bar, the rate, the time left."""

from __future__ import annotations

import time

from opengrid.cli.output import ProgressLine
from opengrid.core.sizes import pace_text, size_text

#: Signs of the bar.
_BAR = 24


class Transfer:
    """The line that shows how far a transfer of so many bytes is."""

    def __init__(self, title: str, total: int) -> None:
        self._title, self._total = title, total
        self._line, self._began = ProgressLine(), time.monotonic()
        self._done = self._came = 0.0

    def add(self, done: float, came: float) -> None:
        """Count bytes that were dealt with, and those of them that took time; negative for what has to come again."""
        self._done += done
        self._came += came
        if self._line.is_due or (self._line.is_possible and self._done >= self._total):
            seconds = time.monotonic() - self._began
            self._line.show(f"{self._title}  {progress_text(int(self._done), self._total, int(self._came), seconds)}")

    def clear(self) -> None:
        """Remove the line."""
        self._line.clear()


def progress_text(done: int, total: int, came: int, seconds: float) -> str:
    """Return a bar, how much of how much, the rate, and the time left: of `came` bytes in so many seconds."""
    full = _BAR if not total else min(_BAR, _BAR * done // total)
    text = f"[{'#' * full}{'.' * (_BAR - full)}] {size_text(done)} of {size_text(total)}"
    pace = pace_text(came, seconds, total - done)
    return f"{text}  {pace}" if pace else text
