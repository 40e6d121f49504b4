"""What the kernel says about this machine's memory; None where it does not."""

from __future__ import annotations

from pathlib import Path

_PROC = Path("/proc")


def available_mib(proc: Path = _PROC) -> int | None:
    """Return how much memory programs could still get."""
    kib = _number(proc / "meminfo", "MemAvailable:")
    return None if kib is None else kib // 1024


def oom_kills(proc: Path = _PROC) -> int | None:
    """Return how many processes the kernel has killed for want of memory since it started, in any cgroup."""
    return _number(proc / "vmstat", "oom_kill")


def _number(path: Path, name: str) -> int | None:
    try:
        rows = (line.split() for line in path.read_text().splitlines())
        return next((int(row[1]) for row in rows if row[0] == name), None)
    except (OSError, ValueError, IndexError):
        return None
