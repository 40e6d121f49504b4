"""What a session of tests leaves behind: processes that it started, and descriptors of its own."""

from __future__ import annotations

import contextlib
import gc
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.support.processes import processes_of, wait_until

#: How many descriptors a session may have more at its end than at its beginning: libraries keep some for good.
_MOST_MORE = 100


def descriptors() -> dict[int, str]:
    """Return this process's open descriptors, with what each is."""
    found: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return found


def left_behind(marks: Sequence[str], before: dict[int, str]) -> list[str]:
    """Return, in words, what is left of a session whose processes all carry one of the marks; waits for their ends."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: not _left(marks))
    return [*(_described(pid) for pid in _left(marks)), *_more_descriptors(before)]


def _left(marks: Sequence[str]) -> list[int]:
    found = {pid for mark in marks for pid in processes_of(mark)}
    return sorted(pid for pid in found if not _is_idle_template(pid))


def _is_idle_template(pid: int) -> bool:
    """Whether a process is a template without children: it ends by itself when its program is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return b"template" in words and not Path(f"/proc/{pid}/task/{pid}/children").read_text().strip()
    except OSError:
        return True  # it has ended


def _described(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        command = "which has just ended"
    return f"process {pid}: {command[:300]}"


def _more_descriptors(before: dict[int, str]) -> list[str]:
    gc.collect()
    now = descriptors()
    if len(now) - len(before) <= _MOST_MORE:
        return []
    kinds = Counter(what.partition(":[")[0] for fd, what in now.items() if before.get(fd) != what)
    named = ", ".join(f"{number} × {kind}" for kind, number in kinds.most_common(8))
    return [f"{len(now)} open descriptors, {len(before)} at the beginning; new ones: {named}"]
