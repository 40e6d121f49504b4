"""What scripts write for TensorBoard, shipped while they write it."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.names import OWN_FOLDER
from opengrid.node.logs import Extra

#: What event files are called, by every writer there is.
_MARK = "tfevents"

#: Our own event file in the spool of a generation: what Lightning's ranks log that write none themselves.
METRICS = "callback_metrics.tfevents"

#: How long bytes wait at most, and how often a file is looked at.
_WAITS_S, _LOOK_S = 1.2, 0.3


def is_event_file(path: str) -> bool:
    """Whether a file is one that TensorBoard reads, by its name."""
    return _MARK in path.rpartition("/")[2]


@dataclass(slots=True)
class EventStream(Extra):
    """An event file. It is the script's: it may vanish, or be replaced by something else."""

    inode: int | None = None  #: None while it does not exist
    looked_at: float = 0.0

    def look(self, now_ns: int, *, is_last: bool = False) -> None:
        """Notice growth, a few times a second; a file that vanished or became another one is sent no more."""
        now = time.monotonic()
        if self.is_shut or (now - self.looked_at < _LOOK_S and not is_last):
            return
        self.looked_at = now
        try:
            status = os.lstat(self.path)
        except OSError:
            self.is_shut = self.inode is not None
            return
        is_same = stat.S_ISREG(status.st_mode) and self.inode in (None, status.st_ino) and status.st_size >= self.size
        self.inode, self.is_shut = status.st_ino, not is_same
        if is_same and status.st_size > self.size:
            self.grow(status.st_size, now_ns)

    def read(self, size: int) -> bytes:
        """Return so many of the bytes that the server does not have; fewer when it vanished."""
        try:
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            self.is_shut = True
            return b""
        try:
            data = os.pread(descriptor, size, self.sent)
        finally:
            os.close(descriptor)
        self.is_shut = len(data) < size  # it was cut
        return data


def event_stream(path: Path, *, node: int, name: str, generation: int) -> EventStream:
    """Return how a node's event file is shipped; `name` is its path in the node's work folder.

    `generation` is the one whose ranks wrote it; 0 when that was before this agent.
    """
    return EventStream(
        path=path,
        target=f"/agent/v1/events/{node}",
        what=f"node {node}'s {name}",
        query={"path": name, "generation": generation},
        waits_s=_WAITS_S,
    )


def metrics_stream(folder: Path, generation: int) -> EventStream:
    """Return how our own event file of a generation is shipped, when there will be one: as one of rank 0's node."""
    name = f"{OWN_FOLDER}/{generation}/{METRICS}"  # each generation's is another file
    return event_stream(folder / METRICS, node=0, name=name, generation=generation)


def find_metrics(spool: Path) -> list[EventStream]:
    """Return our own event files in a spool, of an agent that this one replaces."""
    generations = (path.parent for path in spool.glob(f"*/{METRICS}") if path.parent.name.isdecimal())
    return [metrics_stream(folder, int(folder.name)) for folder in generations]
