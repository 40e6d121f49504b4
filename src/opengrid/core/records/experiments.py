"""Runs and their experiments: states, allowed moves, why one failed, what happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from opengrid.core.gang import Plan
from opengrid.core.spec import RunSpec


class ExperimentState(str, Enum):
    """What users see of an experiment."""

    QUEUED = "queued"  #: no capacity yet
    BUILDING = "building"  #: its environment is being made
    PENDING = "pending"  #: submitted; machines or agents are missing
    RUNNING = "running"  #: all ranks were started
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"  #: by the user

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self in (ExperimentState.SUCCEEDED, ExperimentState.FAILED, ExperimentState.STOPPED)


E = ExperimentState


#: Allowed moves of an experiment.
EXPERIMENT_MOVES: dict[E, frozenset[E]] = {
    E.QUEUED: frozenset({E.BUILDING, E.PENDING, E.FAILED, E.STOPPED}),
    E.BUILDING: frozenset({E.QUEUED, E.PENDING, E.FAILED, E.STOPPED}),
    E.PENDING: frozenset({E.QUEUED, E.RUNNING, E.SUCCEEDED, E.FAILED, E.STOPPED}),
    E.RUNNING: frozenset({E.QUEUED, E.PENDING, E.SUCCEEDED, E.FAILED, E.STOPPED}),
    E.SUCCEEDED: frozenset(),
    E.FAILED: frozenset({E.QUEUED}),
    E.STOPPED: frozenset({E.QUEUED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What one `grid run` created."""

    id: str
    name: str
    user: str
    spec: RunSpec
    plan: Plan
    created_us: int
    counts: dict[ExperimentState, int] = field(default_factory=dict[ExperimentState, int])  #: experiments by state
    waiting: str | None = None  #: why its oldest waiting experiment waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Memory when a rank ended."""

    peak_mib: int | None  #: most that was resident of the rank's process, pages that it shares included
    available_mib: int | None  #: what its machine could still give, right after the end


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCause:
    """Why an experiment failed: the first rank that did, and what it left."""

    summary: str  #: one line for people
    rank: int | None = None
    node: int | None = None
    machine: int | None = None
    exit_code: int | None = None
    signal: str | None = None  #: SIGKILL …
    exception: str | None = None  #: `ValueError: bad lr`
    frame: str | None = None  #: `train.py:12 in main`
    hint: str | None = None
    log_tail: str = ""  #: traceback, or the last lines of the rank's output
    victims: tuple[int, ...] = ()  #: ranks that failed because this one did
    memory: Memory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One point of a run's sweep."""

    id: str
    run_id: str
    index: int
    name: str
    arguments: tuple[str, ...]  #: the script's, references to datastores as paths
    typed: tuple[str, ...]  #: the same as typed, references as they were written
    params: dict[str, object]
    state: ExperimentState
    version: int  #: grows with every move
    reason: str  #: why it waits or ended
    exit_code: int | None
    root_cause: RootCause | None
    stop_requested: str | None  #: why it shall stop, None while nobody asked
    created_us: int
    started_us: int | None  #: first time running
    ended_us: int | None
    attempts: int = 0
    generations: int = 0
    holding: int = 0  #: machines that it has now
    held_us: int = 0  #: sum of the times when machines were given back, less those when they were got

    def machine_us(self, now_us: int) -> int:
        """Return how long it has had machines by now, each counted for itself; 0 for a time before all of that."""
        return max(0, self.held_us + self.holding * now_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to an experiment."""

    at_us: int
    experiment_id: str
    attempt: int | None = None
    generation: int | None = None
    kind: str = "note"  #: state | attempt | generation | launch | artifacts | rehearsal | note
    before: str | None = None  #: state left, for a change of state
    after: str | None = None  #: state entered
    reason: str
