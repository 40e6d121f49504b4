"""core.masking: secrets are hidden, wherever the pieces of what was written begin and end."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from opengrid.core.masking import Masker, Masks


def test_a_secret_is_hidden_by_as_many_stars() -> None:
    masks = Masks(["hunter2", "péage"])

    assert masks.hide(b"a hunter2 b") == b"a ******* b"
    assert masks.hide_text("péage!") == "******!"
    assert len(masks.hide("péage".encode())) == len("péage".encode())


def test_overlapping_secrets_are_hidden_whole() -> None:
    assert Masks(["abab", "babc"]).hide(b"xabababcx") == b"x*******x"


def test_the_lines_of_a_secret_are_hidden_one_by_one_too() -> None:
    assert Masks(["-----KEY\nMIIEvQ\n"]).hide(b"x MIIEvQ y") == b"x ****** y"


def test_texts_that_are_too_short_hide_nothing() -> None:
    assert not Masks(["", "abc"])
    assert Masks(["abc"]).hide(b"abc") == b"abc"


def test_only_what_may_become_a_secret_is_held_back() -> None:
    masker = Masker(Masks(["hunter2"]))

    assert masker.feed(b"say hun") == b"say "
    assert masker.feed(b"gry hunter") == b"hungry "
    assert masker.feed(b"2 hu") == b"******* "
    assert masker.feed(b"", is_last=True) == b"hu"


@settings(max_examples=100)
@given(
    secrets=st.lists(st.text("ab", min_size=4, max_size=6), min_size=1, max_size=3),
    pieces=st.lists(st.text("ab", max_size=7), max_size=8),
)
def test_pieces_show_what_the_whole_would(secrets: list[str], pieces: list[str]) -> None:
    masks = Masks(secrets)
    masker = Masker(masks)

    shown = b"".join(masker.feed(piece.encode()) for piece in pieces) + masker.feed(b"", is_last=True)

    assert shown == masks.hide("".join(pieces).encode())


def test_what_holds_a_text_to_hide_is_told_from_what_does_not() -> None:
    masks, data = Masks(["hunter2", "line one\nline two"]), b"x = 'hunter2'; y = 'line two'"
    assert masks.reads(data, 0, len(data))
    assert not masks.reads(data, 0, 11)
    assert masks.reads(data, 11, len(data))
    assert not Masks([]).reads(data, 0, len(data))
    assert Masks(["hunter2"]).key == Masks(["hunter2"]).key != Masks(["hunter3"]).key
