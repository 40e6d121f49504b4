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


@pytest.mark.parametrize("text", ["grid.example.org", "ftp://grid", "https://", "//grid"])
def test_a_public_address_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidValue, match=f"GRID_PUBLIC_URL={text} is no address"):
        read_settings({"GRID_PUBLIC_URL": text})


def test_what_starts_a_server_again_is_what_started_it() -> None:
    assert read_settings({}).arguments(4711) == []
    assert read_settings({}, listen="127.0.0.1").arguments(8265) == ["--listen", "127.0.0.1:8265"]
    given = read_settings({"GRID_PUBLIC_URL": "https://grid.example.org/"}, listen="[::]:0", insecure=True)
    assert given.arguments(4711) == [
        *("--listen", "[::]:4711", "--insecure", "--public-url", "https://grid.example.org"),
    ]
    safe = read_settings({}, listen="0.0.0.0:1", tls_cert="/c.pem", tls_key="/k.pem")
    assert safe.arguments(1) == ["--listen", "0.0.0.0:1", "--tls-cert", "/c.pem", "--tls-key", "/k.pem"]
