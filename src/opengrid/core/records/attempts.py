"""Attempts: states, allowed moves, their machines, generations and ranks."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from opengrid.core.protocol import Restore
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import RootCause


class AttemptState(str, Enum):
    """One try of an experiment."""

    CREATED = "created"  #: admitted, not yet handed to the engine
    SUBMITTED = "submitted"  #: the engine has it; no agent said hello
    ASSEMBLING = "assembling"  #: some agents said hello
    RUNNING = "running"  #: all agents are here; generations come and go
    ENDING = "ending"  #: ranks are gone; last uploads
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    PREEMPTED = "preempted"
    LOST = "lost"  #: its machines are gone

    @property
    def is_terminal(self) -> bool:
        """Whether nothing follows."""
        return self not in (
            AttemptState.CREATED,
            AttemptState.SUBMITTED,
            AttemptState.ASSEMBLING,
            AttemptState.RUNNING,
            AttemptState.ENDING,
        )


A = AttemptState


#: Allowed moves of an attempt.
ATTEMPT_MOVES: dict[A, frozenset[A]] = {
    A.CREATED: frozenset({A.SUBMITTED, A.FAILED, A.STOPPED, A.LOST}),
    A.SUBMITTED: frozenset({A.ASSEMBLING, A.RUNNING, A.ENDING, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    A.ASSEMBLING: frozenset({A.RUNNING, A.ENDING, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    A.RUNNING: frozenset({A.ENDING, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    A.ENDING: frozenset({A.SUCCEEDED, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    **{state: frozenset() for state in (A.SUCCEEDED, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST)},
}


class GenerationPhase(str, Enum):
    """One start of all ranks inside an attempt."""

    PREPARING = "preparing"  #: older ranks end, folders are made, the store opens
    RESTORING = "restoring"  #: the newest checkpoint is put back, when there may be one
    RUNNING = "running"  #: ranks are forked
    STOPPING = "stopping"  #: the first failure or a stop: the others are being ended
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One try of an experiment on one set of machines."""

    id: str  #: `<experiment id>-<number>`, the engine's idempotency key
    experiment_id: str
    number: int  #: from 1, never reused
    state: AttemptState
    version: int  #: grows with every move of the attempt or its generation: the version of the agents' desired state
    generation: int  #: current generation, from 1; 0 before the first
    phase: GenerationPhase
    store_address: str | None  #: rank 0's address and the store's port, once prepared
    store_port: int | None
    outcome: str | None  #: how its generation, then it, is being ended: succeeded | failed | stopped | preempted | lost
    reason: str
    token_hash: str  #: of the single-use attempt token
    token_expires_us: int
    created_us: int
    ended_us: int | None = None
    cluster: str = LOCAL_CLUSTER  #: on whose machines
    holding: int = 0  #: machines that it has now: whose agent said hello, and which are not lost
    held_us: int = 0  #: sum of the times when machines were given back, less those when they were got


class MachineState(str, Enum):
    """One machine of an attempt's gang, as its agent tells."""

    WAITING = "waiting"  #: its agent has not said hello
    PRESENT = "present"
    RELEASED = "released"  #: everything is uploaded, the agent has ended
    LOST = "lost"  #: the engine says it is gone


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptMachine:
    """One machine of an attempt."""

    attempt_id: str
    index: int
    state: MachineState
    devices: tuple[tuple[str, ...], ...]  #: GPU UUIDs of each of its nodes; empty tuples when simulated or on CPUs
    session_hash: str | None = None  #: of the session secret that its agent chose
    hostname: str | None = None
    address: str | None = None
    facts_seen: int = 0  #: highest fact number applied
    prepared: int = 0  #: generation that it last prepared
    restored: int = 0  #: generation for which it last put the checkpoint back
    store_port: int | None = None  #: of that generation's rendezvous store; machine 0 opens it
    started: int = 0  #: generation whose ranks it last started
    ended: int = 0  #: generation of which no rank is left on it
    met: bool | None = None  #: whether any rank of the ended generation connected to the store; machine 0 knows
    broken: str | None = None  #: why it could not prepare or run the generation that it ended last
    is_retryable: bool = False  #: whether another generation may do: a process of ours died, or a store was away
    preempted: bool = False  #: it was told that it will go away


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One start of all ranks inside an attempt, and how it ended."""

    attempt_id: str
    number: int  #: from 1, inside the attempt
    created_us: int
    started_us: int | None = None  #: all its ranks existed
    ended_us: int | None = None
    cause: RootCause | None = None  #: why it failed
    restore: Restore | None = None  #: what was put back before its ranks started; None: nobody has looked yet
    first_step: int | None = None  #: of the training, as far as its framework tells
    last_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RankExit:
    """How one rank of one generation ended; `exit_code` is negative for a signal, as in subprocess."""

    attempt_id: str
    generation: int
    rank: int
    exit_code: int
    at_ns: int  #: server time
    exception: str | None = None
    frame: str | None = None
    log_tail: str = ""
    peak_mib: int | None = None
    available_mib: int | None = None
    oom_killed: bool | None = None  #: by the kernel, for want of memory; None: not known
