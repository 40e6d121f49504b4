"""How many CPU ranks a computer takes, and how many a plan needs."""

from __future__ import annotations

from opengrid.core.gang import Plan

#: What a CPU rank needs, with what it shares taken off.
RANK_BYTES = 150_000_000

#: Left to the rest of the computer.
KEPT_BYTES = 4 * 2**30

#: More CPU ranks than this on one computer rehearse nothing any more.
MOST_RANKS = 64


def rank_room(memory_mib: int) -> int:
    """Return how many CPU ranks fit into that much memory; negative numbers do not come out."""
    return max(0, (memory_mib * 2**20 - KEPT_BYTES) // RANK_BYTES)


def most_ranks(memory_mib: int) -> int:
    """Return how many CPU ranks a computer with that much memory takes when nothing else runs on it.

    One always: a computer that cannot run a plain script is not for us to refuse.
    """
    return max(1, min(MOST_RANKS, rank_room(memory_mib)))


def cpu_ranks(plan: Plan) -> int:
    """Return for how many CPU ranks an experiment needs room; 0 when it runs on real accelerators.

    A program that starts its own processes is taken to start one per simulated GPU.
    """
    if plan.devices:
        return 0
    return max(plan.gang.world_size, plan.gpus)


def gigabytes(ranks: int) -> str:
    """Return what so many CPU ranks need, as people say it: `4.8 GB`."""
    return f"{ranks * RANK_BYTES / 1e9:.1f} GB"
