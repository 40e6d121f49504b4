"""What agents measure: the kernel's counters, what two looks tell, and how it lies in a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.core.nvml import GpuUse
from opengrid.core.samples import RECORD, Quantity, Sample, encode, parse_series, series_name
from opengrid.node.counters import Counters, read_counters
from opengrid.node.progress import Usage, usage
from opengrid.node.telemetry import Look, samples_between

STAT = "cpu  100 0 50 800 40 0 10 0 5 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"
MEMORY = "MemTotal: 4096 kB\nMemFree: 8 kB\nMemAvailable:   1024 kB\n"
NETWORK = """Inter-|   Receive               |  Transmit
 face |bytes    packets errs drop |bytes    packets errs drop
    lo: 900 1 0 0 0 0 0 0 900 1 0 0 0 0 0 0
  eth0:5000 1 0 0 0 0 0 0 700 1 0 0 0 0 0 0
docker0: 40 1 0 0 0 0 0 0 30 1 0 0 0 0 0 0
"""
DISKS = """ 259 0 nvme0n1 1 0 16 0 1 0 32 0 0 0 0
 259 1 nvme0n1p1 1 0 16 0 1 0 32 0 0 0 0
 253 0 dm-0 1 0 16 0 1 0 32 0 0 0 0
"""


def test_the_kernels_counters_are_read_each_thing_once(tmp_path: Path) -> None:
    proc, sys = tmp_path / "proc", tmp_path / "sys"
    assert read_counters(proc, sys) == Counters(0, 0, 0, 0, 0, 0, 0)
    (proc / "net").mkdir(parents=True)
    for name, text in (("stat", STAT), ("meminfo", MEMORY), ("net/dev", NETWORK), ("diskstats", DISKS)):
        (proc / name).write_text(text)
    for name in ("nvme0n1", "dm-0", "loop0"):
        (sys / "block" / name).mkdir(parents=True)
    in_a_container = read_counters(proc, sys)
    assert in_a_container == Counters(160, 1000, 5040, 730, 16 * 512, 32 * 512, 3072 * 1024)
    (sys / "class/net/eth0/device").mkdir(parents=True)
    assert (read_counters(proc, sys).received, read_counters(proc, sys).sent) == (5000, 700)


def test_the_processes_of_a_group_count_together_whatever_they_are_called(tmp_path: Path) -> None:
    for pid, name, group in (("1", "init", 1), ("70", "a) R (b", 70), ("71", "worker", 70), ("80", "other", 80)):
        (tmp_path / pid).mkdir()
        times = "100 20 30 50"
        (tmp_path / pid / "stat").write_text(f"{pid} ({name}) S 1 {group} 1 0 -1 0 0 0 0 0 {times} 20 0 1 0 5 9 3")
    (tmp_path / "72").mkdir()  # it has ended since it was listed
    found = usage({70, 90}, str(tmp_path))
    assert found.keys() == {70}
    assert found[70].cpu_s == pytest.approx(4.0)
    assert found[70].resident % 6 == 0
    assert found[70].resident > 0


def look(at_s: float, *, ranks: dict[int, Usage], machine: Counters, gpus: dict[int, GpuUse] | None = None) -> Look:
    return Look(at_s=at_s, ranks=ranks, machine=machine, gpus=gpus or {})


def test_two_looks_tell_shares_and_speeds_and_the_second_what_is_in_use() -> None:
    before = look(10.0, ranks={4: Usage(1.0, 5)}, machine=Counters(100, 1000, 50, 60, 70, 80, 9))
    now = look(
        12.0,
        ranks={4: Usage(4.0, 7000), 5: Usage(0.5, 80)},
        machine=Counters(150, 1200, 250, 60, 70, 1080, 12),
        gpus={4: GpuUse(use=97, memory=1 << 30), 5: GpuUse(use=None, memory=5)},
    )
    assert samples_between(before, now, machine=1) == [
        Sample(Quantity.RANK_CPU, 4, 150.0),
        Sample(Quantity.RANK_MEMORY, 4, 7000),
        Sample(Quantity.RANK_CPU, 5, 25.0),
        Sample(Quantity.RANK_MEMORY, 5, 80),
        Sample(Quantity.GPU_USE, 4, 97),
        Sample(Quantity.GPU_MEMORY, 4, 1 << 30),
        Sample(Quantity.GPU_MEMORY, 5, 5),
        Sample(Quantity.MACHINE_CPU, 1, 25.0),
        Sample(Quantity.MACHINE_MEMORY, 1, 12),
        Sample(Quantity.MACHINE_RECEIVED, 1, 100.0),
        Sample(Quantity.MACHINE_SENT, 1, 0.0),
        Sample(Quantity.MACHINE_READ, 1, 0.0),
        Sample(Quantity.MACHINE_WRITTEN, 1, 500.0),
    ]


def test_what_ended_between_two_looks_makes_nothing_negative() -> None:
    before = look(0.0, ranks={0: Usage(9.0, 5)}, machine=Counters(100, 1000, 50, 60, 70, 80, 9))
    now = look(1.0, ranks={0: Usage(2.0, 5)}, machine=Counters(90, 1000, 40, 50, 60, 70, 9))
    values = {sample.quantity: sample.value for sample in samples_between(before, now, machine=0)}
    assert values[Quantity.RANK_CPU] == values[Quantity.MACHINE_SENT] == 0
    assert Quantity.MACHINE_CPU not in values  # no time has passed for the processors


def test_every_quantity_has_a_code_and_a_name_of_its_own_and_names_are_read_back() -> None:
    assert len({quantity.value.code for quantity in Quantity}) == len(Quantity)
    for quantity in Quantity:
        assert parse_series(series_name(quantity, 31)) == (quantity, 31)
    for name in ("", "rank", "rank/0", "rank/x/cpu", "rank/-1/cpu", "rank/0/use", "rank/0/cpu/1", "rank/123456/cpu"):
        assert parse_series(name) is None


def test_samples_of_one_moment_lie_one_behind_the_other() -> None:
    data = encode(1.5, [Sample(Quantity.RANK_CPU, 3, 50.0), Sample(Quantity.GPU_USE, 2, 7.0)])
    assert list(RECORD.iter_unpack(data)) == [(1.5, 1, 3, 50.0), (1.5, 3, 2, 7.0)]
