"""Patterns that are searched for in large texts, through RE2: its time grows with the text and nothing else.

Python's own `re` can be made to run for ever by a pattern of ten characters, and holds the interpreter's lock all the
while.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import re2 as untyped_re2  # pyright: ignore[reportMissingTypeStubs]

from opengrid.core.errors import InvalidValue

re2: Any = untyped_re2

#: Where a search for the last match begins: so many bytes before the end, then further away.
_NEAR = 4096


class Pattern:
    """A text or a regular expression, found inside single lines."""

    def __init__(self, text: str, *, is_regex: bool, is_case_sensitive: bool) -> None:
        """Compile it; raise InvalidValue for what is no regular expression, and for one that the empty text matches."""
        options = re2.Options()
        options.case_sensitive, options.never_nl, options.log_errors = is_case_sensitive, True, False
        wanted = f"(?m:{text})" if is_regex else re2.escape(text)
        try:
            re2.compile(text if is_regex else wanted, options)  # a `)` must not end our own group
            self._pattern: Any = re2.compile(wanted, options)
        except re2.error as error:
            reason = b"".join(error.args).decode(errors="replace")
            raise InvalidValue(
                f"{text!r} is no regular expression: {reason}",
                hint="as RE2 reads them: without look-around and back-references",
                field="q",
            ) from None
        if self._pattern.search(b"") is not None:
            raise InvalidValue(f"{text!r} matches every line", hint="name something that must be there", field="q")

    def first(self, data: bytes, start: int, *, is_whole: bool) -> int:
        """Return where the first match begins, from `start` on; -1 for none.

        What stands before `start` is seen by anchors only. Unless the data are the `is_whole` rest of their text, what
        matches up to their end is left out: more may follow.
        """
        return next(self._starts(data, start, is_whole), -1)

    def last(self, data: bytes, start: int, *, is_whole: bool) -> int:
        """Return where the last match begins; else as first()."""
        width = _NEAR
        while True:
            low = max(start, len(data) - width)
            found = -1
            for found in self._starts(data, low, is_whole):  # noqa: B007 - the last one counts
                pass
            if found >= 0 or low == start:
                return found
            width *= 4

    def _starts(self, data: bytes, start: int, is_whole: bool) -> Iterator[int]:
        for match in self._pattern.finditer(data, start):
            begin, end = match.span()
            if is_whole or end < len(data):
                yield begin
