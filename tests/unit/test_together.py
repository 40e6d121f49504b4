"""Small contents that travel in one body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opengrid.core.errors import InvalidValue
from opengrid.core.together import divided, joined

digests = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.dictionaries(digests, st.binary(max_size=50), max_size=20))
def test_what_was_joined_is_divided_again(contents: dict[str, bytes]) -> None:
    assert divided(joined(list(contents.items()))) == list(contents.items())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"no json\n",
        b"{}\nx",
        b"[[1]]\n",
        b'[["aa", "x"]]\n',
        b'[["aa", 2]]\nx',
        b'[["aa", 1]]\nxy',
        b'[["aa", 2], ["bb", -1]]\nx',
        b'[["aa", 1], ["aa", 1]]\nxy',
        b"\xff\xfe\n",
        b"7\n",
    ],
)
def test_what_is_no_such_body_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidValue):
        divided(body)


@given(st.binary(max_size=200))
def test_whatever_comes_is_divided_or_refused(body: bytes) -> None:
    try:
        contents = divided(body)
    except InvalidValue:
        return
    assert body.endswith(b"".join(content for _, content in contents))
