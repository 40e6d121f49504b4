"""What the page works out by itself, tested where it is written: ui/src/**/*.test.ts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.conftest import missing

UI = Path(__file__).parents[2] / "ui"


def test_the_pages_own_logic_passes_its_unit_tests() -> None:
    if not (UI / "node_modules" / ".bin" / "vitest").exists():
        missing("ui", "the web UI's packages are not installed: make ui")
    done = subprocess.run([sys.executable, UI / "build.py", "--test"], capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
