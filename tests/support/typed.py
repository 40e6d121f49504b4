"""Types `grid …` inside the test's own process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from opengrid.cli.main import main


@dataclass(frozen=True)
class Done:
    """What a command left."""

    code: int
    raw: bytes
    err: str

    @property
    def out(self) -> str:
        return self.raw.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Typist:
    """Runs commands in a folder with a home."""

    capture: pytest.CaptureFixture[bytes]

    def __call__(self, *arguments: str) -> Done:
        self.capture.readouterr()
        with pytest.raises(SystemExit) as left:
            main(arguments)
        out, err = self.capture.readouterr()
        assert isinstance(left.value.code, int)
        return Done(left.value.code, out, err.decode())


def make_typist(
    capture: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, home: Path, folder: Path
) -> Typist:
    """Return a typist in `folder` whose shell knows nothing of the tester's own Grid."""
    for name in ("GRID_STATE", "VIRTUAL_ENV", "CONDA_PREFIX", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.setenv("GRID_HOME", str(home))
    monkeypatch.chdir(folder)
    return Typist(capture)
