"""What the system does: waited for, and looked at."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

#: How long anything may take.
DEADLINE_S = 60.0


def wait_until(condition: Callable[[], object], what: str = "condition") -> None:
    """Wait for a state of the system, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not in time"
        time.sleep(0.01)


def files_below(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder that others remove something of meanwhile: pathlib's globs fail at that."""
    for place, _, names in os.walk(folder):
        yield from (file for name in names if (file := Path(place, name)).is_file())


def contents_below(folder: Path) -> dict[Path, bytes]:
    """Return what the files below a folder hold that others remove something of meanwhile."""
    found: dict[Path, bytes] = {}
    for file in files_below(folder):
        with contextlib.suppress(FileNotFoundError):
            found[file] = file.read_bytes()
    return found


def is_alive(pid: int) -> bool:
    """Whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def processes_of(needle: str) -> list[int]:
    """Return living processes with `needle` in command line, environment, folder or log: what was left behind."""
    found: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            text = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            places = os.readlink(folder / "cwd"), os.readlink(folder / "fd/2")
        except OSError:
            continue
        is_found = needle.encode() in text or any(needle in place for place in places)
        if is_found and is_alive(int(folder.name)) and int(folder.name) != os.getpid():
            found.append(int(folder.name))
    return found
