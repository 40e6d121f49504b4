"""The documents that the user API answers, as JSON has them: what `-o json` prints is what the server said."""

from __future__ import annotations

from typing import TypedDict


class ServerDocument(TypedDict):
    """What a server says about itself."""

    pid: int
    url: str
    version: str
    started_at: str
    home: str


class PlaceDocument(TypedDict):
    """Where a link led."""

    url: str
    ref: str
    commit: str
    path: str


class SignInDocument(TypedDict):
    """A link that signs one browser in, once."""

    url: str
    path: str
    expires_at: str


class SessionDocument(TypedDict):
    """Who asks, as the server knows them, and which server that is."""

    user: str
    is_admin: bool  #: runs the server
    expires_at: str | None  #: None for a token
    version: str
    hostname: str


class UserRow(TypedDict):
    """Somebody with an account."""

    user: str
    is_active: bool  #: has a token
    is_admin: bool
    created_at: str


class RequestDocument(TypedDict):
    """What a run was asked for with: core.spec.RunSpec as JSON."""

    run: str
    request: dict[str, object]
    held_back: list[str]  #: variables whose values are the owner's alone


class MountDocument(TypedDict):
    """A datastore version that a script reads, and where it finds it."""

    name: str
    version: int
    path: str
    text: str


class PlanDocument(TypedDict):
    """What will run where; core.gang.Plan as JSON."""

    machines: int
    cluster: str
    instance_type: str
    nodes: int
    gpus: int
    gpus_per_node: int
    cpus_per_node: int
    ranks_per_node: int
    world_size: int
    experiments: int
    price_per_hour: float
    cost_per_hour: float
    simulated: bool
    devices: str
    python: str | None
    source: str
    packages: str
    link: PlaceDocument | None
    reason: str
    mounts: list[MountDocument]
    layout: list[list[int]]


class CreatedDocument(TypedDict):
    """Answer to a new run; of a dry run, `run` is None and `experiments` empty."""

    run: str | None
    experiments: list[str]
    plan: PlanDocument


class RunRow(TypedDict):
    """One run in a list; `queued` counts building and pending too, so that the five counts add up."""

    run: str
    created_at: str
    user: str
    labels: dict[str, str]
    experiments: int
    queued: int
    running: int
    completed: int
    stopped: int
    failed: int


class RunsDocument(TypedDict):
    """A page of runs, newest first."""

    runs: list[RunRow]
    total: int
    not_active: int


class MemoryDocument(TypedDict):
    """Memory when a rank ended, in MiB."""

    peak_mib: int | None
    available_mib: int | None


class RootCauseDocument(TypedDict):
    """Why an experiment failed."""

    cause: str
    rank: int | None
    node: int | None
    machine: int | None
    exit_code: int | None
    signal: str | None
    exception: str | None
    frame: str | None
    hint: str | None
    log_tail: str
    victims: list[int]
    memory: MemoryDocument | None


EventDocument = TypedDict(  # by call: `from` could not be a name
    "EventDocument",
    {
        "at": str,
        "kind": str,
        "attempt": int | None,
        "generation": int | None,
        "from": str | None,
        "to": str | None,
        "reason": str,
    },
)
"""One thing that happened; `from` and `to` are None for what is no change of state."""


class UnreachableDocument(TypedDict):
    """A machine whose agent should speak and does not, though the engine does not say that it is gone."""

    machine: int
    since: str


class StartDocument(TypedDict):
    """One start of all ranks; steps as far as the framework told them."""

    attempt: int
    generation: int
    started_at: str | None
    ended_at: str | None
    resumed_from: str | None
    first_step: int | None
    last_step: int | None
    lost_s: float | None  #: since the start before it had ended
    lost_steps: int | None  #: done once more
    cause: str | None


class ArgumentDocument(TypedDict):
    """An option of the script with its value, or a word: as typed, and as what the script got."""

    name: str | None  #: None: a word that belongs to no option
    typed: str | None  #: None: an option without a value
    resolved: str | None


class SourceDocument(TypedDict):
    """What code runs; core.spec.Source as JSON."""

    line: str
    kind: str
    root: str
    directory: str
    bundle: str | None
    commit: str | None
    patch: str | None
    modified: int
    files: int
    size: int
    link: str | None
    ref: str | None
    place: PlaceDocument | None


class _Experiment(TypedDict):
    experiment: str
    run: str
    state: str
    reason: str
    exit_code: int | None
    command: str
    source: SourceDocument
    gpus: int
    machines: int
    nodes: int
    world_size: int
    params: dict[str, object]
    arguments: list[ArgumentDocument]
    created_at: str
    started_at: str | None
    ended_at: str | None
    cluster: str
    instance_type: str
    simulated: bool
    hourly_cost: float
    cost: float
    attempts: int
    generations: int


class ExperimentDocument(_Experiment, total=False):
    """One experiment; `root_cause` once diagnosed; what `plan` and all after it tell, when it was asked for alone."""

    stopping: bool
    gpus_per_node: int
    devices: str
    root_cause: RootCauseDocument | None
    plan: PlanDocument
    work_dir: str | None
    unreachable: list[UnreachableDocument]
    starts: list[StartDocument]
    events: list[EventDocument]


class RunDocument(TypedDict):
    """One run with all its experiments; `etag` changes when anything in it does."""

    run: str
    etag: str
    experiments: list[ExperimentDocument]


class FrameDocument(TypedDict):
    """One line of a stack; files of the user's tree are relative to where the program started."""

    file: str
    line: int
    function: str


class ThreadDocument(TypedDict):
    """A stack that other threads than the main one have, in these ranks."""

    ranks: list[int]
    frames: list[FrameDocument]


class StackGroupDocument(TypedDict):
    """Ranks whose main threads have equal stacks; outermost frame first, as in a traceback."""

    ranks: list[int]
    top: str
    frames: list[FrameDocument]
    threads: list[ThreadDocument]


class SilentRankDocument(TypedDict):
    """A rank of which there is no stack."""

    rank: int
    reason: str


class StacksDocument(TypedDict):
    """Where all ranks of an experiment are, the most common stack first."""

    experiment: str
    groups: list[StackGroupDocument]
    silent: list[SilentRankDocument]


class StoppedDocument(TypedDict):
    """Experiments that were asked to stop, and those that had ended before."""

    stopped: list[str]
    already: list[str]


class ResumedDocument(TypedDict):
    """Experiments that go on, and those of a run that had not failed or been stopped."""

    resumed: list[str]
    left: list[str]


class SecretRow(TypedDict):
    """The name of a secret."""

    name: str
    changed_at: str


class InstanceTypeRow(TypedDict):
    """One type of machine; prices in US dollars per hour, None where there is none."""

    name: str
    cloud: str
    on_demand: float
    spot: float | None
    cpus: int
    gpus: int
    memory_gb: float
    accelerator: str


class UploadDocument(TypedDict):
    """A datastore version that takes its files, and the folder to put contents in, on the server's host."""

    name: str
    version: int
    upload: str
    round: int
    staging: str
    least_free: int
    resumed: bool
    links: bool  #: whether contents are put over links, in packs


class OfferedFileDocument(TypedDict):
    """A file that a version shall have."""

    position: int
    path: str
    size: int
    sha256: str
    executable: bool


class DatastoreRow(TypedDict):
    """One version of a datastore."""

    name: str
    version: int
    state: str
    reason: str
    kind: str
    files: int
    size: int
    source: str
    digest: str | None
    user: str
    created_at: str


class DatastoreUseDocument(TypedDict):
    """A run that uses a datastore version, and its experiments that have not ended."""

    run: str
    active: bool
    experiments: list[str]


class DatastoreDocument(DatastoreRow):
    """One version of a datastore, with who uses it."""

    used_by: list[DatastoreUseDocument]
    protection: str
    location: str


class DatastoreFileRow(TypedDict):
    """A file of a datastore version; `pin` says what one is known by that is only referred to."""

    path: str
    size: int
    sha256: str
    pin: str


class DatastoreFilesDocument(TypedDict):
    """A page of a version's files, by path."""

    files: list[DatastoreFileRow]
    total: int
    size: int


class VerdictDocument(TypedDict):
    """What a look at every byte of a datastore version has found."""

    files: int
    damaged: list[str]
    repaired: list[str]


class DeletedDatastoreDocument(TypedDict):
    """Versions that are gone, and the bytes that this freed."""

    deleted: list[int]
    freed: int


class ArtifactRow(TypedDict):
    """A file that an experiment made: its newest version."""

    id: str
    path: str
    node: int
    size: int
    sha256: str
    version: int
    attempt: int
    modified_at: str
    stored_at: str


class ArtifactsDocument(TypedDict):
    """A page of an experiment's artifacts, by path and node."""

    artifacts: list[ArtifactRow]
    total: int
    size: int


class ScalarRow(TypedDict):
    """What a metric of an experiment has come to."""

    tag: str
    goal: str  #: min | max
    points: int
    first_step: int
    last_step: int
    last_at: str | None
    last: float | None  #: None: not finite, see `text`
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    best: float | None
    best_step: int | None
    text: str | None  #: NaN, Infinity or -Infinity, when the last value is that


class FileProblem(TypedDict):
    """An event file of which not all could be read."""

    node: int
    path: str
    reason: str


class ScalarsDocument(TypedDict):
    """An experiment's metrics."""

    experiment: str
    tags: list[ScalarRow]
    problems: list[FileProblem]
    cursor: str


class SeriesRow(TypedDict):
    """The points of a metric."""

    experiment: str
    tag: str
    start: float
    total: int
    steps: list[int]
    times: list[float]
    values: list[float | None]
    not_finite: list[tuple[int, str]]
    is_append: bool


class SeriesDocument(TypedDict):
    """The points of several metrics."""

    series: list[SeriesRow]
    cursors: dict[str, str]
    reset: list[str]


class SystemRow(TypedDict):
    """The newest sample of one series."""

    name: str
    subject: str
    number: int
    quantity: str
    unit: str
    value: float
    at: str


class SystemDocument(TypedDict):
    """How much an experiment uses of its machines."""

    experiment: str
    series: list[SystemRow]


class TableRow(ExperimentDocument):
    """One experiment with its metrics, by name."""

    metrics: dict[str, ScalarRow]


class MetricColumn(TypedDict):
    """A metric that some experiments of a run have."""

    tag: str
    goal: str  #: min | max


class TableColumns(TypedDict):
    """What can be a column of a run's table."""

    params: list[str]
    metrics: list[MetricColumn]


class TableDocument(TypedDict):
    """A page of a run's experiments."""

    run: str
    total: int
    columns: TableColumns
    experiments: list[TableRow]


class TensorBoardDocument(TypedDict):
    """A TensorBoard that answers."""

    view: str
    path: str


class ClusterRow(TypedDict):
    """A cluster in a list."""

    cluster: str
    engine: str
    address: str | None
    default: bool
    machine_count: int
    cpus: int
    gpus: int
    problem: str | None


class ClusterMachine(TypedDict):
    """One machine of a cluster."""

    address: str
    kind: str | None
    cpus: int
    cpus_used: int | None
    gpus: int
    gpus_used: int
    accelerator: str | None
    memory_mib: int
    experiments: list[str]


class PossibleMachines(TypedDict):
    """Machines that a cluster can start."""

    type: str
    most: int


class ClusterHost(TypedDict):
    """A host on which the server has started the engine; `problem` when its node has not joined."""

    host: str
    address: str
    problem: str | None


class ClusterDocument(ClusterRow):
    """A cluster with its machines."""

    hosts: list[ClusterHost]
    machines: list[ClusterMachine]
    possible: list[PossibleMachines]


class ClusterLogLine(TypedDict):
    """A line that an engine itself wrote; `at` where it, or a line before it, tells."""

    host: str
    file: str
    at: str | None
    text: str


class ClusterLogs(TypedDict):
    """The newest lines of a cluster's engine, oldest first; `problems` of the hosts that could not be asked."""

    cluster: str
    lines: list[ClusterLogLine]
    problems: list[ClusterHost]


class StartLine(TypedDict):
    """What is done on a host."""

    host: str
    text: str


class ClusterStart(TypedDict):
    """How far the start of a cluster's hosts is."""

    cluster: str
    lines: list[StartLine]
    is_over: bool
    error: dict[str, str | None] | None


class _Addressed(TypedDict):
    address: str


class ClusterTemplate(TypedDict):
    """A file from which a cluster can be made on a cloud."""

    provider: str
    text: str
    types: dict[str, int]  #: as `grid clusters add --types` wants them


class CheckedMachine(_Addressed, total=False):
    """What a machine says about itself; `problem` when it does not, or does not reach the server."""

    hostname: str
    python: str
    executable: str
    ray: str | None
    torch: str | None
    lightning: str | None
    round_trip_ms: float
    problem: str
