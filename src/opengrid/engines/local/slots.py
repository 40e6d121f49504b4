"""Which of this host's GPUs are free, and how one is taken: a lock file per UUID that all users of the host share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from opengrid.core.locks import try_lock
from opengrid.core.nvml import Gpu
from opengrid.engines.engine import NoCapacity


class GpuSlots:
    """Host-wide locks on GPUs, held by the agent that uses them: two users' servers never meet on one GPU."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir()) / "opengrid-gpus"

    def free(self, gpus: Iterable[Gpu]) -> dict[str, str]:
        """Return why each GPU that cannot be taken now is not free, by UUID; free ones are absent."""
        busy: dict[str, str] = {}
        for gpu in gpus:
            descriptor = self._try_lock(gpu.uuid)
            if descriptor is None:
                busy[gpu.uuid] = "held by another experiment"
                continue
            os.close(descriptor)
            if gpu.pids:
                busy[gpu.uuid] = f"in use by process {gpu.pids[0]}"
        return busy

    def take(self, uuids: Iterable[str]) -> list[int]:
        """Lock GPUs, all or none, and return descriptors to pass to the agent; NoCapacity when one is taken."""
        descriptors: list[int] = []
        for uuid in uuids:
            descriptor = self._try_lock(uuid)
            if descriptor is None:
                for taken in descriptors:
                    os.close(taken)
                raise NoCapacity(f"GPU {uuid} has just been taken")
            descriptors.append(descriptor)
        return descriptors

    def _try_lock(self, uuid: str) -> int | None:
        if not self._folder.exists():
            old = os.umask(0)  # every user of the host must be able to lock, none to delete another's file
            try:
                self._folder.mkdir(mode=0o1777, exist_ok=True)
            finally:
                os.umask(old)
        path = self._folder / uuid.replace("/", "_")
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o444)
        if not try_lock(descriptor):
            os.close(descriptor)
            return None
        return descriptor
