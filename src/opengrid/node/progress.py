"""Signs of life of ranks: the processor time of their sessions, and the steps that rank 0 tells of."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path


def cpu_seconds(sessions: Collection[int]) -> float:
    """Return the user and system time of all processes of these sessions, with that of their reaped children."""
    ticks = sum(_ticks(int(name), sessions) for name in os.listdir("/proc") if name.isdigit()) if sessions else 0
    return ticks / os.sysconf("SC_CLK_TCK")


def _ticks(pid: int, sessions: Collection[int]) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return 0
    return sum(map(int, fields[11:15])) if int(fields[3]) in sessions else 0


def read_steps(path: Path) -> tuple[int, int] | tuple[None, None]:
    """Return the first and the last step that rank 0 told of; None twice when it told none."""
    try:
        first, last = path.read_bytes().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return None, None
