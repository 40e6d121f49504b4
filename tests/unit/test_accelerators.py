"""node.accelerators: machines that have GPUs, and those that only count them."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.node.accelerators import is_bare


def machine(folder: Path, *, files: tuple[str, ...] = (), pci: tuple[tuple[str, str], ...] = ()) -> Path:
    for name in ("null", "dri/card0", *files):
        (folder / "dev" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "dev" / name).touch()
    for number, (vendor, kind) in enumerate(pci):
        device = folder / f"sys/bus/pci/devices/0000:00:{number:02}.0"
        device.mkdir(parents=True)
        (device / "vendor").write_text(f"{vendor}\n")
        (device / "class").write_text(f"{kind}\n")
    return folder


@pytest.mark.parametrize("file", ["nvidia0", "nvidiactl", "dxg", "nvmap", "kfd", "dri/renderD128", "accel/accel0"])
def test_a_drivers_device_file_is_a_gpu(tmp_path: Path, file: str) -> None:
    assert not is_bare(machine(tmp_path, files=(file,)))


@pytest.mark.parametrize(
    ("vendor", "kind"),
    [("0x10de", "0x030200"), ("0x10de", "0x030000"), ("0x1002", "0x038000"), ("0x1da3", "0x120000")],
    ids=["H100", "RTX 4090", "MI300X", "Gaudi"],
)
def test_hardware_without_a_driver_is_a_gpu_too(tmp_path: Path, vendor: str, kind: str) -> None:
    assert not is_bare(machine(tmp_path, pci=((vendor, kind),)))


def test_disks_networks_and_a_servers_console_are_none(tmp_path: Path) -> None:
    assert is_bare(tmp_path)
    assert is_bare(machine(tmp_path, pci=(("0x1af4", "0x020000"), ("0x1a03", "0x030000"), ("0x8086", "0x060000"))))
