"""Real agents measure their ranks while these run, and bring what they have measured."""

from __future__ import annotations

from tests.support.agents import AgentBench

from opengrid.core.protocol import Restore
from opengrid.core.samples import RECORD, Quantity

_RUNS = """
import os, time
with open("/dev/null", "wb") as sink:
    while not os.path.exists(f"go{os.environ['GRID_GENERATION']}"):
        sink.write(bytes(1000))
"""


def measured(bench: AgentBench, machine: int, generation: int) -> dict[tuple[int, int], list[float]]:
    """Return what has come so far, by quantity and number."""
    found: dict[tuple[int, int], list[float]] = {}
    for _, code, number, value in RECORD.iter_unpack(bytes(bench.server.samples.get((machine, generation), b""))):
        found.setdefault((code, number), []).append(value)
    return found


def test_ranks_and_machines_are_measured_in_every_generation(bench: AgentBench) -> None:
    bench.assign(_RUNS, ranks=(2, 2))
    bench.start()
    bench.run()
    for machine, ranks in ((0, (0, 1)), (1, (2, 3))):
        bench.server.until(lambda at=(machine, 1): bench.server.samples.get(at), f"samples of machine {machine}")
        found = measured(bench, machine, 1)
        for rank in ranks:
            assert found[Quantity.RANK_CPU.value.code, rank][0] > 1
            assert found[Quantity.RANK_MEMORY.value.code, rank][0] > 1 << 20
        assert found[Quantity.MACHINE_MEMORY.value.code, machine][0] > 1 << 20
        assert 0 < found[Quantity.MACHINE_CPU.value.code, machine][0] <= 100
        assert {number for code, number in found if code == Quantity.RANK_CPU.value.code} == set(ranks)
    for node in (0, 1):
        (bench.folder / f"work/node{node}/go1").touch()
    bench.until_ended()
    bench.server.restores[2] = Restore()
    bench.prepare(2)
    bench.run(2)
    bench.server.until(lambda: bench.server.samples.get((0, 2)), "samples of generation 2")
    for node in (0, 1):
        (bench.folder / f"work/node{node}/go2").touch()
    bench.until_ended(2)
    bench.release(2)
