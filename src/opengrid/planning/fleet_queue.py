"""Who starts now on a cluster, and why the others wait. Pure; the rules are those of planning.queue.

What is admitted is handed to the cluster's own scheduler, which may let it wait a little longer there, until machines
have been started for it, say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from opengrid.core.gang import Bundle
from opengrid.planning.fleet import Fleet, Placed, fits
from opengrid.planning.queue import Holding, Start, Wait, Waiting, behind, in_turn, in_use_by


def admit_to_fleet(waiting: Sequence[Waiting], holding: Sequence[Holding], fleet: Fleet) -> list[Start | Wait]:
    """Return for each experiment that waits for a cluster, oldest first, whether it starts now or why not."""
    if fleet.problem is not None:
        reason = f"waits: the cluster {fleet.cluster} does not answer ({fleet.problem})"
        return in_turn(waiting, holding, lambda one: Wait(experiment=one.experiment, reason=reason))
    return in_turn(waiting, holding, _Queue(fleet, [one for one in holding if one.placed is not None]).decide)


@dataclass(slots=True)
class _Queue:
    """The machines while the queue is gone through."""

    fleet: Fleet
    holding: list[Holding]
    head: Waiting | None = None  #: the oldest that has to wait, though it would fit if all others had ended

    def decide(self, one: Waiting) -> Start | Wait:
        wanted = _wanted(one)
        if not self._fit(wanted):
            return self._wait(one, wanted)
        if not self._fit(*(h.placed for h in self.holding if h.placed is not None), wanted):
            self.head = self.head or one
            users = in_use_by([held.experiment for held in self.holding])
            return Wait(experiment=one.experiment, reason=f"waits for {_in_words(wanted.bundles)} ({users})")
        if self.head is not None:
            head = self.head
            younger = [h.placed for h in self.holding if h.placed is not None and h.created_us >= head.created_us]
            if not self._fit(*younger, _wanted(head), wanted):
                return Wait(experiment=one.experiment, reason=behind(head))
        self.holding.append(Holding(experiment=one.experiment, created_us=one.created_us, placed=wanted))
        gang = one.plan.gang
        devices = tuple(tuple(() for _ in gang.nodes_of(machine)) for machine in range(gang.machines))
        return Start(experiment=one.experiment, devices=devices)

    def _fit(self, *placed: Placed) -> bool:
        return fits(self.fleet.all, placed)

    def _wait(self, one: Waiting, wanted: Placed) -> Wait:
        """Machines have gone since it was planned; it holds nobody back."""
        reason = f"waits for {_in_words(wanted.bundles)}: {self.fleet.cluster} does not have that now"
        return Wait(experiment=one.experiment, reason=reason)


def _wanted(one: Waiting) -> Placed:
    bundles = one.plan.bundles
    return Placed(bundles=bundles, addresses=(None,) * len(bundles))


def _in_words(bundles: Sequence[Bundle]) -> str:
    largest = bundles[0]
    what = f"{largest.gpus} GPU{'s' if largest.gpus != 1 else ''}" if largest.gpus else f"{largest.cpus} CPUs"
    return f"{len(bundles)} machines with {what} each" if len(bundles) > 1 else f"a machine with {what}"
