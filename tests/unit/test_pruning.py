"""planning.pruning: what of a cache goes."""

from __future__ import annotations

from opengrid.planning.pruning import Bounds, Kept, to_remove

NOW = 1_000_000.0
BOUNDS = Bounds(most_bytes=100, longest_unused_s=1000)


def kept(name: str, size: int, age_s: float, *, in_use: bool = False) -> Kept:
    return Kept(name=name, size=size, used_s=NOW - age_s, in_use=in_use)


def test_nothing_goes_while_all_is_within_the_bounds() -> None:
    assert to_remove([kept("a", 50, 999), kept("b", 50, 0)], BOUNDS, now_s=NOW) == []


def test_what_was_not_used_for_long_goes() -> None:
    assert to_remove([kept("new", 1, 1), kept("old", 1, 1001), kept("older", 1, 5000)], BOUNDS, now_s=NOW) == [
        "older",
        "old",
    ]


def test_of_too_much_that_goes_which_was_unused_for_longest_until_the_rest_fits() -> None:
    found = [kept("b", 60, 20), kept("c", 60, 10), kept("a", 10, 30)]
    assert to_remove(found, BOUNDS, now_s=NOW) == ["a", "b"]


def test_what_is_in_use_stays_and_counts() -> None:
    found = [kept("used", 150, 5000, in_use=True), kept("free", 1, 1)]
    assert to_remove(found, BOUNDS, now_s=NOW) == ["free"]
