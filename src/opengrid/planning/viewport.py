"""The part of a plot that is looked at, and numbers as they are told of it."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from typing import Literal

#: What four bytes can hold.
_LARGEST = 3.4e38

#: So many digits tell numbers of four bytes apart; fewer may do.
_FEWEST_DIGITS, _MOST_DIGITS = 6, 9

Axis = Literal["step", "time", "relative"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewport:
    """The part of a plot that is looked at."""

    axis: Axis = "step"
    start: float | None = None  #: on the axis, included; None: from the first point on
    end: float | None = None
    pixels: int | None = None  #: width of the plot; None: every point is wanted


def not_finite_text(value: float) -> str | None:
    """Return how a number is written that JSON has no sign for; None for any other."""
    if math.isnan(value):
        return "NaN"
    return ("Infinity" if value > 0 else "-Infinity") if math.isinf(value) else None


def shortest(value: float | None) -> float | None:
    """Return a number as short as the four bytes that most writers keep of it: 0.1, not 0.10000000149011612."""
    if value is None or not abs(value) < _LARGEST:
        return value
    kept = struct.pack("f", value)
    if struct.unpack("f", kept) != (value,):
        return value
    texts = (f"{value:.{digits}g}" for digits in range(_FEWEST_DIGITS, _MOST_DIGITS + 1))
    return next(short for text in texts if struct.pack("f", short := float(text)) == kept)
