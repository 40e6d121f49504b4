"""A work folder's files as they are at a moment, at the price of one look at each."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from opengrid.node.settling import Version

#: Folders whose content can be made again.
_SKIPPED = frozenset({"__pycache__", ".git"})


@dataclass(frozen=True, slots=True)
class Scan:
    """What was found, by path relative to the folder."""

    files: dict[str, Version] = field(default_factory=dict[str, Version])
    unreadable: dict[str, str] = field(default_factory=dict[str, str])  #: folders that cannot be read, and why


def scan(root: Path, before: frozenset[str] = frozenset()) -> Scan:
    """Look at every file below a folder: regular ones, and links to such that are below it too.

    Links to folders are not followed, and links to files that were there `before` are left out: they hold nothing new.
    """
    found, real_root = Scan(), os.path.realpath(root)
    for path, entry in _entries(str(root), found.unreadable):
        try:
            if entry.is_symlink():
                target = linked_file(real_root, entry.path)
                if target is None or os.path.relpath(target, real_root) in before:
                    continue
            status = entry.stat()
        except OSError:
            continue  # it vanished
        if stat.S_ISREG(status.st_mode):
            found.files[path] = Version(status.st_size, status.st_mtime_ns, status.st_ino)
    return found


def names(root: Path) -> frozenset[str]:
    """Return the paths of everything below a folder that is no folder itself."""
    return frozenset(path for path, _ in _entries(str(root), {}))


def linked_file(real_root: str, link: str) -> str | None:
    """Return what a link points to in the end, if it lies below the folder and not in what is skipped."""
    target = os.path.realpath(link)
    inside = target.startswith(f"{real_root}/") and _SKIPPED.isdisjoint(target[len(real_root) :].split("/"))
    return target if inside else None


def _entries(root: str, unreadable: dict[str, str]) -> Iterator[tuple[str, os.DirEntry[str]]]:
    waiting = [""]
    while waiting:
        above = waiting.pop()
        try:
            with os.scandir(os.path.join(root, above)) as entries:
                for entry in entries:
                    path = f"{above}{entry.name}"
                    if not entry.is_dir(follow_symlinks=False):
                        yield path, entry
                    elif entry.name not in _SKIPPED:
                        waiting.append(f"{path}/")
        except FileNotFoundError:
            continue  # it vanished
        except OSError as error:
            unreadable[above] = error.strerror or str(error)
