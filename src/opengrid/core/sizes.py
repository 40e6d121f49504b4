"""Numbers of bytes, and how fast they come, as people write and read them."""

from __future__ import annotations

import re

from opengrid.core.errors import InvalidValue

_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def size_text(size: float) -> str:
    """Return a number of bytes as people read it: `3.2 GiB`."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def pace_text(came: int, seconds: float, left: int | None) -> str:
    """Return how fast so many bytes came, and how long `left` more will take; nothing in the first second."""
    if came <= 0 or seconds < 1:
        return ""
    rate = came / seconds
    text = f"{size_text(int(rate))}/s"
    if left is None:
        return text
    minutes, second = divmod(int(left / rate), 60)
    hours, minute = divmod(minutes, 60)
    return f"{text}  {f'{hours}:{minute:02}' if hours else minute}:{second:02} left"


def parse_size(text: str, *, name: str) -> int:
    """Return the bytes that `2GiB`, `500m` or `1.5 G` are (units of 1024); InvalidValue for what is none."""
    match = re.fullmatch(r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<unit>[kmgt]?)(?:i?b)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise InvalidValue(f"{name}={text} is no size", hint="such as 500MiB or 2GiB")
    return int(float(match["number"]) * 1024 ** _UNITS[match["unit"].lower()])
