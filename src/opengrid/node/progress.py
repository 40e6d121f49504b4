"""Signs of life of ranks: what their process groups use of the machine, and the steps that rank 0 tells of."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

_TICKS, _PAGE = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes of a process group use."""

    cpu_s: float  #: processor time so far, with that of children that are gone
    resident: int  #: bytes of memory; pages that processes share count in each


def usage(groups: Collection[int], proc: str = "/proc") -> dict[int, Usage]:
    """Return what each of these process groups uses; groups without a process are left out."""
    found: dict[int, Usage] = {}
    for name in os.listdir(proc) if groups else ():
        fields = _stat(f"{proc}/{name}/stat") if name.isdigit() else None
        if fields is None or (group := int(fields[2])) not in groups:
            continue
        cpu_s, resident = sum(map(int, fields[11:15])) / _TICKS, int(fields[21]) * _PAGE
        more = found.get(group, Usage(0.0, 0))
        found[group] = Usage(more.cpu_s + cpu_s, more.resident + resident)
    return found


def _stat(path: str) -> list[bytes] | None:
    """Return the fields of a /proc/PID/stat after the name, which may hold anything; None when the process is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(descriptor, 4096).rpartition(b")")[2].split() or None
    except OSError:
        return None
    finally:
        os.close(descriptor)


def read_steps(path: Path) -> tuple[int, int] | tuple[None, None]:
    """Return the first and the last step that rank 0 told of; None twice when it told none."""
    try:
        first, last = path.read_bytes().split()
        return int(first), int(last)
    except (OSError, ValueError):
        return None, None
