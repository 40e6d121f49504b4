"""Processes known by pid, start time and boot: what tells an agent from a stranger that was given its pid."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessId:
    """A process, unmistakably."""

    pid: int
    start_time: int  #: clock ticks since boot, field 22 of /proc/PID/stat
    boot_id: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        if self.boot_id != boot_id():
            return False
        try:
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        return fields[0] not in ("Z", "X") and int(fields[19]) == self.start_time


def boot_id() -> str:
    """Return the id of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def read_process_id(path: Path) -> ProcessId | None:
    """Return the process that an agent's lock file names; None while the file is missing or not yet written."""
    try:
        document = json.loads(path.read_text())
        return ProcessId(
            pid=int(document["pid"]), start_time=int(document["start_time"]), boot_id=str(document["boot_id"])
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
