"""Which machine of a gang brings a content that several have."""

from __future__ import annotations

import pytest

from opengrid.services.claims import PATIENCE_S, Claims
from opengrid.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def claims(clock: FakeClock) -> Claims:
    return Claims(clock=clock)


def test_the_first_brings_and_the_others_wait(claims: Claims) -> None:
    assert claims.claim("a", 0, {"x", "y"}) == set()
    assert claims.claim("a", 1, {"x", "z"}) == {"x"}
    assert claims.claim("a", 0, {"x", "z"}) == {"z"}
    assert claims.claim("a", 2, {"x", "z"}) == {"x", "z"}


def test_another_gang_is_not_waited_for(claims: Claims) -> None:
    claims.claim("a", 0, {"x"})
    assert claims.claim("b", 0, {"x"}) == set()


def test_who_offers_again_without_a_content_could_not_bring_it(claims: Claims) -> None:
    claims.claim("a", 0, {"x", "y"})
    claims.claim("a", 0, {"y"})
    assert claims.claim("a", 1, {"x", "y"}) == {"y"}


def test_a_silent_machine_is_not_waited_for_any_longer(claims: Claims, clock: FakeClock) -> None:
    claims.claim("a", 0, {"x"})
    clock.step(PATIENCE_S - 1)
    claims.heard("a", 0)
    clock.step(PATIENCE_S - 1)
    assert claims.claim("a", 1, {"x"}) == {"x"}
    clock.step(1)
    assert claims.claim("a", 1, {"x"}) == set()
    assert claims.claim("a", 0, {"x"}) == {"x"}  # now the other one brings it


def test_what_is_here_and_what_is_over_is_forgotten(claims: Claims) -> None:
    claims.claim("a", 0, {"x", "y"})
    claims.settle("a", {"x"})
    claims.settle("b", {"x"})
    assert claims.claim("a", 1, {"x", "y"}) == {"y"}
    claims.forget("a")
    claims.heard("a", 0)
    assert claims.claim("a", 2, {"x", "y"}) == set()
