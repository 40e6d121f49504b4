"""What of a cache goes: what was not used for long, and what was not used for longest while there is too much. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """One thing in a cache."""

    name: str
    size: int  #: bytes
    used_s: float  #: when it was last used, in seconds since the epoch
    in_use: bool = False  #: it stays, whatever else holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How much of a cache is kept."""

    most_bytes: int
    longest_unused_s: float


def to_remove(kept: Iterable[Kept], bounds: Bounds, *, now_s: float) -> list[str]:
    """Return the names of what goes, what was unused for longest first."""
    everything = sorted(kept, key=lambda one: one.used_s)
    total, gone = sum(one.size for one in everything), list[str]()
    for one in everything:
        is_old = now_s - one.used_s > bounds.longest_unused_s
        if not one.in_use and (is_old or total > bounds.most_bytes):
            gone.append(one.name)
            total -= one.size
    return gone
