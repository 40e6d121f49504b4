"""Whether this machine has anything that a GPU counted by an engine could be."""

from __future__ import annotations

import contextlib
from pathlib import Path

#: Device files of drivers: NVIDIA's, also under WSL and on Jetsons, AMD's, and those of other makers.
_FILES = ("nvidia[0-9]*", "nvidiactl", "dxg", "nvmap", "kfd", "dri/renderD*", "accel*", "hl[0-9]*")

#: PCI classes: 3D controllers, other display controllers, processing accelerators.
_CLASSES = ("0x0302", "0x0380", "0x12")

#: A VGA controller of one of these makers computes, too; all others only show a server's console.
_VGA, _MAKERS = "0x0300", ("0x10de", "0x1002")


def is_bare(root: Path = Path("/")) -> bool:
    """Return whether there is no accelerator: neither a driver's device file, nor hardware that wants a driver.

    False where a driver is missing or broken: what asks for such a GPU is to fail, and not to train on CPUs unasked.
    """
    if any(True for pattern in _FILES for _ in (root / "dev").glob(pattern)):
        return False
    return not any(map(_computes, (root / "sys/bus/pci/devices").glob("*")))


def _computes(device: Path) -> bool:
    with contextlib.suppress(OSError):
        kind, maker = ((device / name).read_text().strip() for name in ("class", "vendor"))
        return kind.startswith(_CLASSES) or (kind.startswith(_VGA) and maker in _MAKERS)
    return False
