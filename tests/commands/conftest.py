"""Commands typed inside the test's own process, against a server that answers what the test says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.fake_api import FakeApi, serving
from tests.support.typed import Typist, make_typist


@pytest.fixture
def api(tmp_path: Path) -> Iterator[FakeApi]:
    """The server; it knows nothing yet."""
    with serving(tmp_path / "home") as api:
        yield api


@pytest.fixture
def grid(
    api: FakeApi, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Typist:
    """`grid …`, typed in an empty folder."""
    return make_typist(capsysbinary, monkeypatch, api.home, tmp_path)
