"""Which files of folders were closed by who wrote them, or renamed into place: the kernel tells (inotify).

It only makes things quicker: what it does not tell, because a folder is too new or there are too many, is noticed by
looking. Asked of the kernel and not of /proc/*/fd of our ranks, which would cost a look at every file of every process
each time, and would not know who closed a file in between.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_CLOSED, _MOVED_TO, _CREATED = 0x00000008, 0x00000080, 0x00000100
_ONLY_FOLDERS, _IS_FOLDER, _GONE = 0x01000000, 0x40000000, 0x00008000
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_HEAD = struct.Struct("iIII")

#: All users' processes share what the kernel allows: folders beyond this are only looked at.
_MOST_FOLDERS = 2000

#: Folders that nothing is collected from.
_SKIPPED = frozenset({"__pycache__", ".git"})


class Closings:
    """One queue of the kernel's for any number of folders, with all that is below them. Not for several threads."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._queue: int = self._libc.inotify_init1(_FLAGS) if hasattr(self._libc, "inotify_init1") else -1
        self._folders: dict[int, str] = {}

    def watch(self, root: Path) -> None:
        """Have files below a folder told."""
        for folder, below, _ in os.walk(root):
            below[:] = [name for name in below if name not in _SKIPPED]
            if not self._add(folder):
                return

    def drain(self) -> set[str]:
        """Return the paths of what was closed or renamed into place since the last call; never blocks."""
        told: set[str] = set()
        while self._queue >= 0:
            try:
                events = os.read(self._queue, 1 << 16)
            except BlockingIOError:
                break
            at = 0
            while at < len(events):
                watch, mask, _, size = _HEAD.unpack_from(events, at)
                name = os.fsdecode(events[at + _HEAD.size : at + _HEAD.size + size].rstrip(b"\0"))
                at += _HEAD.size + size
                self._note(watch, mask, name, told)
        return told

    def close(self) -> None:
        """Let the queue go."""
        if self._queue >= 0:
            os.close(self._queue)
            self._queue = -1

    def _note(self, watch: int, mask: int, name: str, told: set[str]) -> None:
        if mask & _GONE:
            self._folders.pop(watch, None)
            return
        folder = self._folders.get(watch)
        if folder is None or not name:
            return
        path = os.path.join(folder, name)
        if not mask & _IS_FOLDER:
            if mask & (_CLOSED | _MOVED_TO):
                told.add(path)
        elif name not in _SKIPPED:
            self.watch(Path(path))

    def _add(self, folder: str) -> bool:
        if self._queue < 0 or len(self._folders) >= _MOST_FOLDERS:
            return False
        wanted = _CLOSED | _MOVED_TO | _CREATED | _ONLY_FOLDERS
        watch = self._libc.inotify_add_watch(self._queue, os.fsencode(folder), wanted)
        if watch >= 0:
            self._folders[watch] = folder
        return True  # one that has vanished, or that the kernel does not watch, is only looked at
