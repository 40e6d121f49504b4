"""What the kernel has counted of this machine: processor time, network and disks; and how much memory is in use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_SECTOR = 512  # of /proc/diskstats, whatever the disk's own is

#: Disks that stand for parts of others, or for memory: what goes through them would count twice.
_NO_DISKS = ("loop", "ram", "zram", "dm-", "md")


@dataclass(frozen=True, slots=True)
class Counters:
    """All of it at one moment; 0 where the kernel does not tell."""

    busy: int  #: ticks of all processors
    ticks: int  #: the same with idle ones
    received: int  #: bytes from then on
    sent: int
    read: int
    written: int
    memory: int  #: in use now


def read_counters(proc: Path = Path("/proc"), sys: Path = Path("/sys")) -> Counters:
    """Return what has been counted so far."""
    busy, ticks = _processors(proc)
    received, sent = _network(proc, sys)
    read, written = _disks(proc, sys)
    return Counters(busy, ticks, received, sent, read, written, _memory(proc))


def _processors(proc: Path) -> tuple[int, int]:
    times = next(([int(n) for n in row[1:9]] for row in _rows(proc / "stat") if row[0] == "cpu"), [0] * 8)
    return sum(times) - sum(times[3:5]), sum(times)  # idle, and idle while waiting for a disk


def _network(proc: Path, sys: Path) -> tuple[int, int]:
    """Count what hardware has sent where there is some; in a container all interfaces but loopback."""
    found = {row[0].rstrip(":"): row[1:] for row in _rows(proc / "net" / "dev", colons=True) if row[0].endswith(":")}
    found.pop("lo", None)
    hardware = {name for name in found if os.path.exists(sys / "class" / "net" / name / "device")}
    counted = [found[name] for name in hardware or found]
    return sum(int(row[0]) for row in counted), sum(int(row[8]) for row in counted)


def _disks(proc: Path, sys: Path) -> tuple[int, int]:
    try:
        whole = {name for name in os.listdir(sys / "block") if not name.startswith(_NO_DISKS)}
    except OSError:
        return 0, 0
    counted = [row for row in _rows(proc / "diskstats") if row[2] in whole]
    return sum(int(row[5]) for row in counted) * _SECTOR, sum(int(row[9]) for row in counted) * _SECTOR


def _memory(proc: Path) -> int:
    kib = {row[0]: int(row[1]) for row in _rows(proc / "meminfo") if row[0] in ("MemTotal:", "MemAvailable:")}
    return 1024 * (kib.get("MemTotal:", 0) - kib.get("MemAvailable:", 0))


def _rows(path: Path, *, colons: bool = False) -> Iterator[list[str]]:
    """Yield the words of each line; with `colons`, numbers may follow a name's colon without a space."""
    try:
        text = path.read_text()
    except OSError:
        return
    for line in (text.replace(":", ": ") if colons else text).splitlines():
        if words := line.split():
            yield words
