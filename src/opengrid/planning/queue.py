"""Who starts now, and why the others wait. Pure: from what waits, what runs and what there is.

Gangs start whole or not at all, oldest first. A younger experiment may start while an older one waits (backfill), but
only on what the oldest waiting one, the head, would leave over if it had everything it asks for: all that younger
experiments hold, plus what the head needs, stays within what there is. So once the older experiments have ended, the
head fits, however many small ones come after it: nobody starves, and no guess about running times is needed. The one
exception: while others than us hold so much that the head could not start even if all of ours ended, holding back
would only leave things idle, and backfill is free.

GPUs and CPU ranks are two queues in one: an experiment needs one kind only, and waits behind its own kind only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from opengrid.core.gang import Gang, Plan
from opengrid.planning.capacity import MOST_RANKS, RANK_BYTES, cpu_ranks, gigabytes, rank_room
from opengrid.planning.fleet import Placed
from opengrid.planning.inventory import Accelerator, Inventory

#: UUIDs of each node, of each machine.
Devices = tuple[tuple[tuple[str, ...], ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An experiment in the queue."""

    experiment: str  #: name
    created_us: int
    plan: Plan
    visible: frozenset[str] | None = None  #: UUIDs that CUDA_VISIBLE_DEVICES of its shell leaves; None = all
    run: str = ""  #: id of its run
    parallel: int | None = None  #: how many of its run may be under way at once; None = all


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """An experiment that has been admitted and has not ended."""

    experiment: str  #: name
    created_us: int
    devices: frozenset[str] = frozenset()  #: UUIDs of its GPUs
    ranks: int = 0  #: CPU ranks that it needs room for: capacity.cpu_ranks of its plan
    is_starting: bool = False  #: its ranks do not run yet, so that their memory still counts as available
    run: str = ""  #: id of its run
    placed: Placed | None = None  #: on a cluster: what it takes of which machines


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """This experiment starts now, on these GPUs."""

    experiment: str
    devices: Devices  #: empty tuples where it uses none


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """This experiment goes on waiting."""

    experiment: str
    reason: str


def admit(waiting: Sequence[Waiting], holding: Sequence[Holding], inventory: Inventory) -> list[Start | Wait]:
    """Return for each waiting experiment, oldest first, whether it starts now or why not."""
    gpus, ranks = _Gpus.of(inventory, holding), _Ranks.of(inventory, holding)
    return in_turn(waiting, holding, lambda one: gpus.decide(one) if one.plan.devices else ranks.decide(one))


def in_turn(
    waiting: Sequence[Waiting], holding: Sequence[Holding], decide: Callable[[Waiting], Start | Wait]
) -> list[Start | Wait]:
    """Return the decisions, oldest first; `decide` is asked about each whose own run does not hold it back."""
    in_order = sorted(waiting, key=lambda one: one.created_us)  # stable: equals stay in the caller's order
    under_way = Counter(one.run for one in holding)
    decisions: list[Start | Wait] = []
    for one in in_order:
        if one.parallel is not None and under_way[one.run] >= one.parallel:
            # It waits for its own run alone, so it is nobody's head.
            reason = f"waits: the run's --parallel {one.parallel} are running"
            decisions.append(Wait(experiment=one.experiment, reason=reason))
            continue
        decision = decide(one)
        under_way[one.run] += isinstance(decision, Start)
        decisions.append(decision)
    return decisions


@dataclass(slots=True)
class _Gpus:
    """The real GPUs while the queue is gone through."""

    accelerators: tuple[Accelerator, ...]
    holders: dict[str, Holding]  #: by UUID
    head: Waiting | None = None  #: the oldest that has to wait
    started: list[Holding] = field(default_factory=list[Holding])

    @classmethod
    def of(cls, inventory: Inventory, holding: Iterable[Holding]) -> _Gpus:
        return cls(inventory.accelerators, {uuid: one for one in holding for uuid in one.devices})

    def decide(self, one: Waiting) -> Start | Wait:
        needed = one.plan.gpus
        # What the head may use is taken last.
        free = sorted(self._free(one), key=lambda a: self.head is not None and _may_use(self.head, a))
        if len(free) < needed:
            self.head = self.head or one
            return Wait(experiment=one.experiment, reason=self._why_few(one, len(free)))
        chosen = free[:needed]
        if self.head is not None and self._delays_head(one, chosen):
            return Wait(experiment=one.experiment, reason=behind(self.head))
        uuids = [a.uuid for a in self.accelerators if a in chosen]
        taken = Holding(experiment=one.experiment, created_us=one.created_us, devices=frozenset(uuids))
        self.holders.update(dict.fromkeys(uuids, taken))
        return Start(experiment=one.experiment, devices=_shares(one.plan.gang, uuids))

    def _free(self, one: Waiting) -> list[Accelerator]:
        return [a for a in self.accelerators if _may_use(one, a) and a.uuid not in self.holders and a.busy is None]

    def _delays_head(self, one: Waiting, chosen: Sequence[Accelerator]) -> bool:
        head = self.head
        if head is None:
            return False
        # A GPU of ours is `busy` too, with our own processes: only what none of ours holds is others'.
        ours = [a for a in self.accelerators if _may_use(head, a) and (a.busy is None or a.uuid in self.holders)]
        if len(ours) < head.plan.gpus:
            return False
        younger = [a for a in ours if a in chosen or self._held_by_younger(a, head)]
        return len(younger) + head.plan.gpus > len(ours)

    def _held_by_younger(self, accelerator: Accelerator, head: Waiting) -> bool:
        holder = self.holders.get(accelerator.uuid)
        return holder is not None and holder.created_us >= head.created_us

    def _why_few(self, one: Waiting, free: int) -> str:
        needed = one.plan.gpus
        usable = [a for a in self.accelerators if _may_use(one, a)]
        if len(usable) < needed:
            return f"waits for {needed} GPUs: this computer offers it {len(usable)} now"
        users = [
            self.holders[a.uuid].experiment if a.uuid in self.holders else f"{a.name}: {a.busy}"
            for a in usable
            if a.uuid in self.holders or a.busy is not None
        ]
        missing = needed - free
        more = f"{missing} more GPU{'s' if missing > 1 else ''} of {needed}" if free else f"{_count(needed, 'GPU')}"
        return f"waits for {more} ({in_use_by(users)})"


@dataclass(slots=True)
class _Ranks:
    """The room for CPU ranks while the queue is gone through."""

    places: int  #: free of the most that this computer takes
    memory: int  #: ranks that fit into the memory available now
    whole: int  #: places and memory as they would be if all of ours had ended
    holding: list[Holding]
    head: Waiting | None = None

    @classmethod
    def of(cls, inventory: Inventory, holding: Iterable[Holding]) -> _Ranks:
        ours = [one for one in holding if one.ranks]
        total, unborn = sum(one.ranks for one in ours), sum(one.ranks for one in ours if one.is_starting)
        back = (total - unborn) * RANK_BYTES // 2**20
        memory = max(0, rank_room(inventory.available_mib) - unborn)
        whole = min(MOST_RANKS, rank_room(min(inventory.available_mib + back, inventory.memory_mib)))
        return cls(places=MOST_RANKS - total, memory=memory, whole=max(1, whole), holding=ours)

    def decide(self, one: Waiting) -> Start | Wait:
        needed = cpu_ranks(one.plan)
        # One rank starts on a computer of any size, as long as it is the only one.
        fits = needed <= min(self.places, self.memory) or (needed == 1 and not self.holding)
        if not fits:
            self.head = self.head or one
            return Wait(experiment=one.experiment, reason=self._why_little(one, needed))
        if self.head is not None and self._delays_head(needed):
            return Wait(experiment=one.experiment, reason=behind(self.head))
        self.places, self.memory = self.places - needed, self.memory - needed
        self.holding.append(Holding(experiment=one.experiment, created_us=one.created_us, ranks=needed))
        return Start(experiment=one.experiment, devices=_shares(one.plan.gang, ()))

    def _delays_head(self, needed: int) -> bool:
        head = self.head
        if head is None or cpu_ranks(head.plan) > self.whole:
            return False
        younger = sum(held.ranks for held in self.holding if held.created_us >= head.created_us)
        return younger + needed + cpu_ranks(head.plan) > self.whole

    def _why_little(self, one: Waiting, needed: int) -> str:
        what = f"{needed} {'simulated rank' if one.plan.simulated else 'rank'}{'s' if needed > 1 else ''}"
        if needed > self.places:
            users = [held.experiment for held in self.holding]
            free = max(0, self.places)
            return f"waits for room: {what}, {free} of {MOST_RANKS} places are free ({in_use_by(users)})"
        verb = "need" if needed > 1 else "needs"
        users = f" ({in_use_by([held.experiment for held in self.holding])})" if self.holding else ""
        return f"waits for memory: {what} {verb} {gigabytes(needed)}, {gigabytes(self.memory)} are free{users}"


def _may_use(one: Waiting, accelerator: Accelerator) -> bool:
    return one.visible is None or accelerator.uuid in one.visible


def _shares(gang: Gang, uuids: Sequence[str]) -> Devices:
    """Deal the GPUs out to the nodes, in order; no GPUs give empty shares."""
    return tuple(
        tuple(tuple(uuids[node.index * node.gpus : (node.index + 1) * node.gpus]) for node in gang.nodes_of(machine))
        for machine in range(gang.machines)
    )


def behind(head: Waiting) -> str:
    """Return why one waits that would delay an older one."""
    return f"waits behind {head.experiment}, which is older and would start later if this one started now"


def in_use_by(users: Sequence[str]) -> str:
    """Return who has what one waits for: three names, and how many more."""
    names = list(dict.fromkeys(users))
    rest = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"in use by {', '.join(names[:3])}{rest}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
