"""How full disks may become: below a limit nothing new is begun, so that what runs already can go on writing."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.errors import Unusable
from opengrid.core.sizes import size_text

#: Of small disks this part stays free, whatever the limit is.
_SMALL_PART = 10

#: What is told of the free space changes in steps of this part of the limit, so that it is not told anew all the time.
_STEPS = 20

_HINT = "free space there: `grid datastore delete` removes versions, `grid delete` old runs"


@dataclass(frozen=True, slots=True)
class DiskGuard:
    """Keeps `least` bytes of every disk free, or a tenth of one that is small."""

    least: int = 2 << 30

    def least_of(self, folder: Path) -> int:
        """Return how much of the disk of a folder stays free, in bytes."""
        return min(self.least, shutil.disk_usage(_existing(folder)).total // _SMALL_PART)

    def room(self, folder: Path) -> int:
        """Return how many bytes may still be taken in at a folder; negative where there are too few."""
        return shutil.disk_usage(_existing(folder)).free - self.least_of(folder)

    def lack(self, *folders: Path, size: int = 0) -> str | None:
        """Return in words what is missing for something of so many bytes to begin; None when there is room."""
        for folder in folders:
            room, least = self.room(folder), self.least_of(folder)
            if room < size:
                free = room + least
                free -= free % max(1, least // _STEPS)
                return f"{size_text(free)} are free on the disk of {folder}, and {size_text(least)} stay free"
        return None

    def waits(self, *folders: Path) -> str | None:
        """Return why what would begin waits; None when it need not."""
        lack = self.lack(*folders)
        return None if lack is None else f"waits for disk space: {lack}"

    def check(self, folder: Path, size: int = 0, *, hint: str = _HINT) -> None:
        """Raise Unusable when something of so many bytes must not begin."""
        lack = self.lack(folder, size=size)
        if lack is not None:
            what = f"no space left for {size_text(size)}" if size else "no space left for anything new"
            raise Unusable(f"{what}: {lack}", hint=hint)


def reserved_bytes(disk: int) -> int:
    """Return how much of a disk of so many bytes artifacts leave free: the training may write to the same."""
    return min(1 << 30, disk // 20)


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
