"""Real GPUs, as a fake NVML library shows them: found, free or busy, locked for all users of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.support.nvml import build_fake_nvml, write_gpus

from opengrid.core.nvml import GpuUse, Meter, gpus
from opengrid.engines.engine import NoCapacity
from opengrid.engines.local.host import host_inventory
from opengrid.engines.local.slots import GpuSlots


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_nvml(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def shown(library: Path) -> Path:
    """The folder that says which GPUs there are: none, until a test says so."""
    (library.parent / "gpus").unlink(missing_ok=True)
    return library.parent


def test_a_host_without_a_driver_has_no_gpus(library: Path, shown: Path) -> None:
    assert gpus(str(library)) == []
    assert gpus("libno-such-thing.so.1") == []


def test_gpus_are_listed_with_memory_and_the_processes_on_them(library: Path, shown: Path) -> None:
    write_gpus(shown, [("NVIDIA H100 80GB HBM3", 81_559, 0), ("NVIDIA A100-SXM4-40GB", 40_960, 4711)])
    found = gpus(str(library))
    assert [(g.index, g.name, g.memory_mib, g.pids) for g in found] == [
        (0, "NVIDIA H100 80GB HBM3", 81_559, ()),
        (1, "NVIDIA A100-SXM4-40GB", 40_960, (4711,)),
    ]


def test_gpus_are_measured_by_uuid_or_by_number_and_one_that_is_not_there_tells_nothing(
    library: Path, shown: Path
) -> None:
    _, second = write_gpus(shown, [("NVIDIA H100", 81_559, 0)] * 2, use=73, used_mib=512)
    meter = Meter([second, "0", "GPU-fake-0-0"], str(library))
    used = GpuUse(use=73, memory=512 << 20)
    assert meter.read() == [used, used, GpuUse(use=None, memory=None)]
    meter.close()
    assert Meter(["0"], "libno-such-thing.so.1").read() == [GpuUse(use=None, memory=None)]


def test_a_strangers_process_makes_a_gpu_busy_and_says_whose_it_is(library: Path, shown: Path, tmp_path: Path) -> None:
    write_gpus(shown, [("NVIDIA H100", 81_559, 0), ("NVIDIA H100", 81_559, 4711)])
    found = gpus(str(library))
    inventory = host_inventory(found, GpuSlots(tmp_path / "slots").free(found))
    assert inventory.accelerators[0].busy is None
    assert "4711" in (inventory.accelerators[1].busy or "")


def test_two_servers_never_take_the_same_gpu(library: Path, shown: Path, tmp_path: Path) -> None:
    write_gpus(shown, [("NVIDIA H100", 81_559, 0)] * 2)
    found = gpus(str(library))
    ada, bob = GpuSlots(tmp_path / "slots"), GpuSlots(tmp_path / "slots")
    held = ada.take([found[0].uuid])
    assert list(bob.free(found)) == [found[0].uuid]
    with pytest.raises(NoCapacity):
        bob.take([found[1].uuid, found[0].uuid])
    both = bob.free(found)
    assert list(both) == [found[0].uuid]  # the failed take left nothing locked
    for descriptor in held:
        os.close(descriptor)
    assert bob.free(found) == {}
