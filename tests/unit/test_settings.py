"""What the server reads from its environment."""

from __future__ import annotations

import pytest

from opengrid.core.errors import InvalidValue
from opengrid.server.settings import IDLE_S, read_settings


@pytest.mark.parametrize(("text", "seconds"), [("", IDLE_S), ("90", 90.0), ("1.5", 1.5), ("inf", float("inf"))])
def test_the_idle_time_is_a_number_of_seconds(text: str, seconds: float) -> None:
    assert read_settings({"GRID_IDLE_S": text}).idle_s == seconds


@pytest.mark.parametrize("text", ["abc", "-1", "0", "nan"])
def test_an_idle_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=f"GRID_IDLE_S={text} is no length of time"):
        read_settings({"GRID_IDLE_S": text})
