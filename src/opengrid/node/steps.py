"""What a machine does next, from what it is told to be and what it is. Pure; agent.py does it.

IDLE ─Prepare─► PREPARING ─► PREPARED ─(PutBack)─Start─► RUNNING ─(AskToEnd)─Clear─► CLEARING ─► IDLE …  ─Release─►
RELEASING
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from opengrid.core.protocol import Desired, Phase, Stop


class Stage(Enum):
    """Where a machine is with its generation."""

    IDLE = "idle"  #: nothing of it is left, or there was none yet
    PREPARING = "preparing"  #: folders, launcher and store are being made
    PREPARED = "prepared"
    RESTORING = "restoring"  #: files are being put back; then it is prepared again
    RUNNING = "running"  #: ranks were started
    CLEARING = "clearing"  #: everything below the launcher is being killed
    RELEASING = "releasing"  #: the last logs and facts go up


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What a machine is."""

    generation: int = 0  #: the last one that it prepared or heard of
    stage: Stage = Stage.IDLE
    is_restored: bool = False  #: whether what the generation goes on from has been put back
    living: int = 0  #: ranks that were started and have not exited
    asked: Stop | None = None  #: how ranks were asked to end
    kill_at: float | None = None  #: when those that did not are killed


@dataclass(frozen=True, slots=True)
class Prepare:
    """Make a generation ready to start."""

    generation: int


@dataclass(frozen=True, slots=True)
class PutBack:
    """Put back what the generation goes on from."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start the ranks."""


@dataclass(frozen=True, slots=True)
class AskToEnd:
    """Give ranks their time to end, with SIGTERM if so asked."""

    stop: Stop
    kill_at: float


@dataclass(frozen=True, slots=True)
class Clear:
    """Kill what is left, then say that the generation has ended."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Say that a generation of which this machine started nothing has ended."""

    generation: int


@dataclass(frozen=True, slots=True)
class Release:
    """Send what is left to send, then end."""


Step = Prepare | PutBack | Start | AskToEnd | Clear | Skip | Release


def next_step(own: Own, desired: Desired, now: float) -> Step | None:
    """Return what the machine does next; None while it waits for something under way, or has nothing to do.

    Only the newest `desired` counts: whatever was missed in between is made up for.
    """
    released = desired.phase is Phase.RELEASED
    if desired.generation < own.generation and not released:
        return None  # older than what this machine already does
    if own.stage in (Stage.CLEARING, Stage.RELEASING):
        return None
    if own.stage in (Stage.PREPARING, Stage.RESTORING):
        return Release() if released else None
    over = released or desired.generation > own.generation
    stops = over or desired.phase is Phase.STOP
    if own.stage is Stage.PREPARED and stops:
        return Clear()
    if own.stage is Stage.RUNNING:
        if own.living == 0 or over:
            return Clear()
        return _end(own, desired.stop, now) if stops else None
    if released:
        return Release()
    if desired.generation > own.generation and desired.phase is Phase.STOP:
        return Skip(desired.generation)
    if desired.generation > own.generation and desired.phase in (Phase.PREPARE, Phase.RESTORE, Phase.RUN):
        return Prepare(desired.generation)
    if own.stage is Stage.PREPARED and desired.generation == own.generation:
        if desired.phase is Phase.RESTORE and not own.is_restored:
            return PutBack()
        if desired.phase is Phase.RUN:
            return Start()
    return None


def _end(own: Own, stop: Stop | None, now: float) -> Step | None:
    stop = stop or Stop(terminate=False, grace_s=0.0)
    if own.asked != stop:
        # A second, shorter grace counts; a longer one gives nobody more time.
        return AskToEnd(stop, min(now + stop.grace_s, own.kill_at if own.kill_at is not None else float("inf")))
    return Clear() if own.kill_at is not None and now >= own.kill_at else None
