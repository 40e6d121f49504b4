"""What the store remembers: runs, experiments, attempts, generations, ranks, events; their states and allowed moves.

Times are integers: microseconds since the epoch, UTC (`_us`); ranks' exit times are nanoseconds (`_ns`) in server time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from enum import Enum

from opengrid.core.gang import Plan
from opengrid.core.protocol import Restore
from opengrid.core.spec import RunSpec

#: The cluster that is always there: the computer of the server itself.
LOCAL_CLUSTER = "local"


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


class GenerationPhase(str, Enum):
    """One start of all ranks inside an attempt."""

    PREPARING = "preparing"  #: older ranks end, folders are made, the store opens
    RESTORING = "restoring"  #: the newest checkpoint is put back, when there may be one
    RUNNING = "running"  #: ranks are forked
    STOPPING = "stopping"  #: the first failure or a stop: the others are being ended
    ENDED = "ended"


E = ExperimentState
A = AttemptState

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

#: Allowed moves of an attempt.
ATTEMPT_MOVES: dict[A, frozenset[A]] = {
    A.CREATED: frozenset({A.SUBMITTED, A.FAILED, A.STOPPED, A.LOST}),
    A.SUBMITTED: frozenset({A.ASSEMBLING, A.RUNNING, A.ENDING, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    A.ASSEMBLING: frozenset({A.RUNNING, A.ENDING, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    A.RUNNING: frozenset({A.ENDING, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    A.ENDING: frozenset({A.SUCCEEDED, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST}),
    **{state: frozenset() for state in (A.SUCCEEDED, A.FAILED, A.STOPPED, A.PREEMPTED, A.LOST)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Somebody with an account."""

    name: str
    is_active: bool  #: has a token; without one, runs and datastores are still theirs
    created_us: int


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
    held_us: int = 0  #: how long the attempts that are over had their machines
    held_since_us: int | None = None  #: since when the one that is not has them


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
    broken: str | None = None  #: why it cannot prepare or run the generation
    is_retryable: bool = False  #: whether what broke was a process of ours, so that another generation may do
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to an experiment."""

    at_us: int
    experiment_id: str
    attempt: int | None
    generation: int | None
    kind: str  #: state | attempt | generation | launch | artifacts | note
    before: str | None  #: state left, for a change of state
    after: str | None  #: state entered
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHosts:
    """The hosts of a cluster on which we have started the engine ourselves, by ssh. The first one is its head."""

    id: str  #: what all processes of the cluster carry in their environment
    names: tuple[str, ...]  #: as ssh is told them: [USER@]HOST[:PORT]
    addresses: tuple[str, ...] = ()  #: where others reach each of them; none before they were asked
    python: str | None = None  #: interpreter that was asked for on all of them; None: one is chosen on each
    install: tuple[str, ...] = ()  #: packages that were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Machines that an engine starts gangs on; the server's own computer, LOCAL_CLUSTER, is none of these records."""

    name: str
    engine: str  #: ray
    address: str  #: of the engine's API: http://head:8265
    possible: dict[str, int]  #: machine types that it can start, with the most of each
    work_dir: str  #: folder on every machine below which experiments work
    python: str | None  #: interpreter of the ranks; None: the one that the engine runs with
    user: str  #: who added it
    created_us: int
    hosts: ClusterHosts | None = None  #: None: it was there before, and stays when it is removed


class DatastoreState(str, Enum):
    """A datastore version's life."""

    PROCESSING = "processing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class DatastoreKind(str, Enum):
    """Where a datastore version's content rests."""

    COPIED = "copied"  #: in the store of contents, each content once
    REFERENCED = "referenced"  #: where it was, which is only looked at


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreVersion:
    """One immutable version of a datastore."""

    name: str
    version: int  #: from 1
    user: str
    state: DatastoreState
    source: str
    digest: str | None  #: of its manifest
    files: int
    size: int  #: bytes
    created_us: int
    reason: str = ""
    kind: DatastoreKind = DatastoreKind.COPIED
    upload: str | None = None  #: names the upload that fills it, for going on with it
    round: int = 1  #: how often that upload was begun
    ended_us: int | None = None  #: when it became whole, or failed


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreFile:
    """One file of a datastore version."""

    position: int  #: from 0, in the order of paths
    path: str  #: relative, with `/`
    size: int  #: bytes
    digest: str  #: SHA-256 of the content; of what is only referred to, its ETag or time
    executable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DatastoreUse:
    """A run that reads a datastore version, and its experiments that have not ended."""

    run: str
    active: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """A file that an experiment made: the newest version of what one node has under one path."""

    experiment_id: str
    node: int  #: index of the node that wrote it
    path: str  #: relative to the node's work folder, with `/`
    version: int  #: from 1; how often it was collected
    attempt: int  #: number of the attempt that wrote this version; 0: the server's own record of the experiment
    digest: str  #: SHA-256 of the content
    size: int  #: bytes
    modified_us: int  #: as the writer's file system says
    collected_us: int

    @property
    def is_record(self) -> bool:
        """Whether it is what the server writes of an experiment, and no rank has made."""
        return self.attempt == 0

    @property
    def id(self) -> str:
        """What names it in addresses and in the database, however long its path is and whatever it holds."""
        return hashlib.sha256(f"{self.node}\0{self.path}".encode("utf-8", "replace")).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInLink:
    """A link that signs one browser in, once."""

    code_hash: str
    user: str
    path: str  #: the page that it leads to
    expires_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSession:
    """A browser that is signed in."""

    token_hash: str
    user: str
    created_us: int
    expires_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFile:
    """A file that one node writes for TensorBoard, as far as the server has it and has read it."""

    experiment_id: str
    number: int  #: from 1, inside the experiment
    attempt: int  #: number of the attempt in which it is written
    generation: int  #: and of the generation
    node: int  #: index of the node that writes it
    path: str  #: relative to the node's work folder, with `/`
    label: str = ""  #: what its series' names say of it
    tags: tuple[str, ...] = ()  #: of the scalars in it, as first seen
    offset: int = 0  #: bytes that were read
    points: int = 0  #: scalars in those
    problem: str | None = None  #: why nothing behind the offset is read

    @property
    def start(self) -> tuple[int, int]:
        """The start of the ranks that write it; later ones compare as greater."""
        return self.attempt, self.generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a series of scalars has come to."""

    points: int
    first_step: int
    last_step: int
    last_us: int  #: when the last point was written
    last: float | None  #: None: not finite
    last_text: str | None = None  #: then what it is: NaN, Infinity or -Infinity
    least: float | None = None  #: among the finite values
    least_step: int | None = None
    greatest: float | None = None
    greatest_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar(Summary):
    """One series of an experiment."""

    experiment_id: str
    run_id: str
    tag: str  #: its name
