"""What follows a generation that failed: another one, another attempt, or the end. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from opengrid.core.records.attempts import Generation
from opengrid.core.records.clusters import Cluster
from opengrid.core.records.experiments import RootCause

#: Restarts that infrastructure gets when nobody said otherwise; the script's own errors get none.
DEFAULT_RESTARTS = 3

#: A gang waits so long for a machine in the place of a lost one: on machines that are there, and where the cluster can
#: start more, which takes a cloud minutes. Then it is queued again, and leaves its machines to others meanwhile.
_REPLACE_S, _REPLACE_BY_NEW_S = 60.0, 900.0

#: After generations whose ranks lived shorter than this and left no newer checkpoint, each waits twice as long.
_QUICK_US = 2_000_000
_LONGEST_WAIT_S = 30

#: Signals that come from outside the program: the kernel's memory killer, an administrator, a batch system.
_FROM_OUTSIDE = frozenset({"SIGKILL", "SIGTERM", "SIGHUP"})

#: What ranks say when a connection between machines broke and no rank is to blame.
_NETWORK = re.compile(
    r"Connection (closed|reset) by peer|Connection was likely closed|Broken pipe|connectFullMesh", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What recovery is decided from, beside the generation that has just failed."""

    max_restarts: int | None = None  #: as asked for; None = DEFAULT_RESTARTS for infrastructure, none for the script
    auto_resume: bool = False
    generations: tuple[Generation, ...] = ()  #: of this attempt, the current one last
    lost_attempts: int = 0  #: earlier attempts of the experiment that ended because machines went
    is_new_boot: bool = False  #: whether the computer was restarted since the attempt began
    is_over: bool = False  #: whether this attempt can get no more machines
    cannot_start: bool = False  #: whether another attempt would end as this one, before any agent is there
    replace_s: float = _REPLACE_S  #: how long it waits for a machine in the place of a lost one

    @property
    def limit(self) -> int:
        """Restarts for infrastructure."""
        return DEFAULT_RESTARTS if self.max_restarts is None else self.max_restarts


@dataclass(frozen=True, slots=True)
class Again:
    """Start all ranks once more."""

    reason: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End the attempt, and with it the experiment."""

    reason: str


@dataclass(frozen=True, slots=True)
class Later:
    """Decide again when it is this late."""

    at_us: int


def after_failure(past: Past, outcome: str, now_us: int) -> Again | GiveUp | Later:
    """Return what follows the current generation, which has ended as failed or lost and has its cause."""
    current = past.generations[-1]
    cause = current.cause or RootCause(summary="unknown")
    used = len(past.generations) - 1 + past.lost_attempts
    from_outside = outcome == "lost" or is_infrastructure(cause)
    limit = past.limit if from_outside else past.max_restarts or 0
    if used >= limit:
        return GiveUp(f"{cause.summary}; given up after {_restarts(used)}" if used else cause.summary)
    if not from_outside and _is_repeated(past):
        return GiveUp(f"{cause.summary}; the same error at the same place twice: no further restart")
    begins_us = (current.ended_us or now_us) + _wait_us(past)
    if now_us < begins_us:
        return Later(begins_us)
    return Again(f"restart {used + 1} of {limit}: {cause.summary}")


def replace_within_s(cluster: Cluster | None) -> float:
    """Return how long a gang waits for a machine in the place of a lost one; None is this computer."""
    if cluster is not None and cluster.replace_s is not None:
        return cluster.replace_s
    return _REPLACE_BY_NEW_S if cluster is not None and cluster.possible else _REPLACE_S


def may_try_again(past: Past) -> bool:
    """Return whether an attempt whose machines went before anything ran is followed by another."""
    return past.lost_attempts < past.limit and not past.cannot_start


def is_infrastructure(cause: RootCause) -> bool:
    """Return whether a rank's failure came from outside the program, so that the same program may well succeed."""
    if cause.rank is None:
        return False
    return cause.signal in _FROM_OUTSIDE or _NETWORK.search(cause.exception or cause.log_tail) is not None


def _is_repeated(past: Past) -> bool:
    if len(past.generations) < 2:
        return False
    before, current = past.generations[-2:]
    return _place(before) == _place(current)


def _place(generation: Generation) -> tuple[object, ...]:
    cause = generation.cause
    where = (cause.exception, cause.frame, cause.exit_code) if cause is not None else ()
    return (*where, generation.last_step)


def _wait_us(past: Past) -> int:
    """Return the pause before the next generation: none, unless several in a row ended at once and achieved nothing."""
    quick, later = 0, None
    for generation in reversed(past.generations):
        lived_us = (generation.ended_us or 0) - (generation.started_us or generation.ended_us or 0)
        achieved = later is not None and _contents(later) != _contents(generation)
        if lived_us >= _QUICK_US or achieved:
            break
        quick, later = quick + 1, generation
    return min(_LONGEST_WAIT_S, 2 ** (quick - 2)) * 1_000_000 if quick > 1 else 0


def _contents(generation: Generation) -> set[str]:
    """Return what the generation went on from."""
    return {file.sha256 for file in generation.restore.files} if generation.restore is not None else set()


def _restarts(number: int) -> str:
    return f"{number} restart{'s' if number > 1 else ''}"
