"""Secrets in what programs write: hidden behind as many stars, so that offsets stay true."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmap import mmap

#: Shorter texts are no secrets: to hide them would hide half of a log.
LEAST_LENGTH = 4


class Masks:
    """The texts to hide: whole values, and the lines of those that have several.

    A byte is hidden when any of the texts covers it: what is hidden does not depend on where one begins to read.
    """

    def __init__(self, values: Iterable[str]) -> None:
        texts = {text for value in values for text in (value, value.strip(), *value.splitlines())}
        self._texts = sorted((text.encode() for text in texts if len(text) >= LEAST_LENGTH), key=len, reverse=True)
        self._pattern = re.compile(b"(?=(%s))" % b"|".join(re.escape(text) for text in self._texts))
        #: Bytes that a text to hide may go beyond a border.
        self.reach = max((len(text) for text in self._texts), default=1) - 1

    @property
    def key(self) -> Hashable:
        """What is another for other texts, and tells nobody what they are."""
        return hash(tuple(self._texts))

    def __bool__(self) -> bool:
        """Return whether there is anything to hide."""
        return bool(self._texts)

    def hide(self, data: bytes) -> bytes:
        """Return data of the same length in which no text to hide is left."""
        if not self._texts:
            return data
        hidden = bytearray(data)
        for found in self._pattern.finditer(data):
            start, end = found.span(1)
            hidden[start:end] = b"*" * (end - start)
        return bytes(hidden)

    def reads(self, data: bytes | mmap, start: int, end: int) -> bool:
        """Return whether a text to hide stands between two offsets: faster than hiding, for data of any size."""
        return any(data.find(text, start, end) >= 0 for text in self._texts)

    def hide_text(self, text: str) -> str:
        """Return a text in which no text to hide is left."""
        return self.hide(text.encode("utf-8", "surrogateescape")).decode("utf-8", "surrogateescape")

    def held(self, end: bytes) -> int:
        """Return how many of the last bytes that were written may be the beginning of a text to hide.

        `end` are the last bytes, at least twice as many as `reach` where there are so many.
        """
        length = max((_overlap(end, text) for text in self._texts), default=0)
        return length if length and set(self.hide(end)[-length:]) != {ord("*")} else 0


class Masker:
    """Hides texts in what comes piece by piece."""

    def __init__(self, masks: Masks) -> None:
        self._masks = masks
        self._given = 0  #: bytes of `_seen` that were given out; the others may begin a text to hide
        self._seen = b""

    def feed(self, data: bytes, *, is_last: bool = False) -> bytes:
        """Return what can be shown by now."""
        seen = self._seen + data
        held = 0 if is_last else self._masks.held(seen)
        ready = max(self._given, len(seen) - held)  # what is hidden already may be the beginning of another one
        shown = self._masks.hide(seen)[self._given : ready]
        kept = max(0, ready - 2 * self._masks.reach)
        self._seen, self._given = seen[kept:], ready - kept
        return shown


def _overlap(end: bytes, text: bytes) -> int:
    """Return the length of the longest end of one that begins the other without being all of it."""
    return next((n for n in range(min(len(end), len(text) - 1), 0, -1) if text.startswith(end[-n:])), 0)
