"""Process basics on Linux: prctl, /proc, titles, and ending whole trees of processes."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.codec import from_json, to_json

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
_PR_SET_CHILD_SUBREAPER = 36

#: Every process of ours carries one of these in the environment it was started with.
_OUR_MARKS = (b"GRID_TEMPLATE=", b"GRID_EXPERIMENT_ID=")


@dataclass(frozen=True, slots=True)
class Process:
    """One process as /proc shows it."""

    pid: int
    state: str
    parent: int
    group: int  #: process group
    start_time: int  #: ticks since boot


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """A process group that we started, safe against reuse of its number."""

    id: int  #: pid of its first process
    start_time: int
    boot_id: str


def die_with_parent(parent: int) -> None:
    """Have the kernel SIGKILL this process when `parent` ends. Exits at once when it has ended already.

    The kernel watches the *thread* that forked: fork from main threads only.
    """
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends (a subreaper)."""
    prctl(_PR_SET_CHILD_SUBREAPER, 1)


def prctl(option: int, value: int | ctypes.Array[ctypes.c_char]) -> None:
    """Set one property of this process; OSError when the kernel refuses."""
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def set_title(title: str, short: str) -> None:
    """Show `title` as this process's command line (ps, nvidia-smi) and `short` as its name (top, 15 bytes).

    PR_SET_MM_ARG_START needs privileges, so the argument strings are overwritten where they lie on the stack. The
    title is cut to their length: the environment strings behind them may still be in use. Python has copied sys.argv
    long ago.
    """
    prctl(_PR_SET_NAME, ctypes.create_string_buffer(short.encode()[:15]))
    try:
        fields = Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        start, end = int(fields[45]), int(fields[46])
    except (OSError, ValueError, IndexError):
        return
    if 0 < start < end:
        room = end - start
        # The last byte stays NUL, else the kernel reads on into the environment.
        ctypes.memmove(start, title.encode()[: room - 1].ljust(room, b"\0"), room)


def boot_id() -> str:
    """Return the kernel's name of this boot: with it, a pid and a start time name one process for ever."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def process(pid: int) -> Process | None:
    """Return the process, or None when there is none (a zombie is one)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    fields = text.rpartition(b")")[2].split()
    return Process(pid, fields[0].decode(), int(fields[1]), int(fields[2]), int(fields[19]))


def processes() -> dict[int, Process]:
    """Return all processes of the host that this user may see, by pid."""
    found = (process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return {p.pid: p for p in found if p is not None}


def descendants(roots: Collection[int], table: dict[int, Process]) -> set[int]:
    """Return the pids of everything below `roots` by parentage, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for p in table.values():
        children.setdefault(p.parent, []).append(p.pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found - set(roots)


def kill_groups(ids: Collection[int]) -> None:
    """SIGKILL every process of these groups and every descendant of one, wherever it moved. One pass, no waiting."""
    table = processes()
    members = {p.pid for p in table.values() if p.group in ids} | set(ids)
    for pid in members | descendants(members, table):
        kill(pid, signal.SIGKILL)


def kill_below(roots: Collection[int], *, spare: Collection[int] = ()) -> set[int]:
    """SIGKILL all descendants of `roots` but `spare` and their descendants; return the killed. One pass, no waiting."""
    table = processes()
    spared = set(spare) | descendants(spare, table)
    found = {pid for pid in descendants(roots, table) - spared if table[pid].state != "Z"}
    for pid in found:
        kill(pid, signal.SIGKILL)
    return found


def kill(pid: int, number: int) -> bool:
    """Send a signal; False when the process is gone or another user's."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def takes(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal, or lets it wait: whether sending it would not be its end."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigCgt:", "SigBlk:"))]
    return any(mask >> (number - 1) & 1 for mask in masks)


def group_of(pid: int) -> Group | None:
    """Return the process group that a living process leads, to be recorded."""
    found = process(pid)
    return None if found is None else Group(id=pid, start_time=found.start_time, boot_id=boot_id())


def sweep(groups: Iterable[Group], *, timeout_s: float = 10.0) -> set[int]:
    """SIGKILL what is left of recorded process groups and below them; return what would not die in time.

    Repeating it is harmless. A number that now belongs to somebody else is left alone: another boot, a leader with
    another start time, or, where the leader is gone, a member that none of our processes started.
    """
    here = boot_id()
    recorded = {group.id: group.start_time for group in groups if group.boot_id == here}
    deadline = time.monotonic() + timeout_s
    while True:
        table = processes()
        members = {p.pid for p in table.values() if p.group in recorded and _is_ours(p, recorded[p.group], table)}
        left = {pid for pid in members | descendants(members, table) if table[pid].state != "Z"} - {os.getpid()}
        if not left or time.monotonic() > deadline:
            return left
        for pid in left:
            kill(pid, signal.SIGKILL)
        time.sleep(0.005)


def _is_ours(member: Process, start_time: int, table: dict[int, Process]) -> bool:
    leader = table.get(member.group)
    if leader is not None:
        return leader.start_time == start_time
    if member.start_time < start_time:
        return False
    try:
        environment = Path(f"/proc/{member.pid}/environ").read_bytes()
    except OSError:
        return False
    return any(environment.startswith(mark) or b"\0" + mark in environment for mark in _OUR_MARKS)


def write_groups(path: Path, groups: Iterable[Group]) -> None:
    """Record process groups for a later sweep, atomically."""
    partial = path.with_name(path.name + ".part")
    partial.write_text(json.dumps([to_json(group) for group in groups]))
    os.replace(partial, path)


def read_groups(path: Path) -> list[Group]:
    """Return recorded groups; none when the file is missing."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [from_json(Group, item) for item in json.loads(text)]


def sweep_main(arguments: list[str]) -> int:
    """`sweep FILE`: sweep the process groups recorded in FILE; exit code 1 when something would not die."""
    return 1 if sweep(read_groups(Path(arguments[0]))) else 0
