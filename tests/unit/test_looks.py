"""Looks that several ask for at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from opengrid.core.errors import Unusable
from opengrid.services.looks import Looks
from opengrid.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def looks(clock: FakeClock) -> Looks:
    return Looks(60.0, clock=clock)


def test_what_was_in_order_is_not_looked_at_again_for_a_while(looks: Looks, clock: FakeClock) -> None:
    made: list[str] = []
    for attempt in ("a", "a", "b", "a"):
        looks.once((attempt, "data"), lambda attempt=attempt: made.append(attempt))
    assert made == ["a", "b"]
    clock.step(61)
    looks.once(("a", "data"), lambda: made.append("later"))
    assert made == ["a", "b", "later"]


def test_what_was_not_in_order_is_looked_at_again(looks: Looks) -> None:
    def fail() -> None:
        raise Unusable("changed")

    for _ in range(2):
        with pytest.raises(Unusable, match="changed"):
            looks.once("data", fail)
    looks.once("data", lambda: None)


def test_who_comes_meanwhile_waits_and_hears_the_same(looks: Looks) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def fail() -> None:
        begun.set()
        assert goes_on.wait(60)
        raise Unusable("changed")

    with ThreadPoolExecutor(3) as threads:
        first = threads.submit(looks.once, "data", fail)
        assert begun.wait(60)
        others = [threads.submit(looks.once, "data", fail) for _ in range(2)]
        looks.once("other", lambda: None)  # which is no reason to wait
        goes_on.set()
    assert all(isinstance(asked.exception(), Unusable) for asked in (first, *others))
