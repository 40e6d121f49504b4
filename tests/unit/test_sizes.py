"""Numbers of bytes as people read them, the same on the command line and on the page."""

from __future__ import annotations

import pytest

from opengrid.core.sizes import size_text


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (20_000_013, "19.1 MiB"),
        (3 << 29, "1.5 GiB"),
        (2 << 40, "2.0 TiB"),
    ],
)
def test_a_size_is_written_in_units_of_1024(size: int, text: str) -> None:
    assert size_text(size) == text
