"""Finds the processes of an experiment by the titles that OpenGrid gives them."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

from tests.support.grid import Grid, eventually, is_alive


def find_ranks(experiment: str) -> dict[int, int]:
    """Return the pid of each living rank: those titled `grid <experiment> rank <R>/<W>: …`."""
    title = re.compile(rf"grid {re.escape(experiment)} rank (\d+)/\d+: ".encode())
    found: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            match = title.match((folder / "cmdline").read_bytes())
        except OSError:
            continue
        if match is not None and is_alive(int(folder.name)):
            found[int(match[1])] = int(folder.name)
    return found


def find_agents(grid: Grid, experiment: str) -> dict[int, int]:
    """Return the pid of the living agent of each machine of an experiment."""
    found: dict[int, int] = {}
    for log in (grid.home / "agents").glob("*.log"):
        if f" of {experiment}, attempt " in log.read_text():
            pid = json.loads(log.with_suffix(".lock").read_text())["pid"]
            found |= {int(log.stem.rpartition("-")[2]): pid} if is_alive(pid) else {}
    return found


def kill(pid: int) -> None:
    """kill -9 a process and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not is_alive(pid))
