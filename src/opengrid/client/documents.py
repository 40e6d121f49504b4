"""The documents of the user API as JSON has them: what `-o json` prints is what the server said.

For who checks types only: nothing imports this module when it runs. Every field is there, in answers always.
Made by `make api-types` of the server's classes; changes belong there.
"""

from __future__ import annotations

from typing import Literal, TypedDict


class Actions(TypedDict):
    """Bash commands beside the program, one each; run as the user, once per node."""

    on_build: list[str]
    on_build_start: list[str]
    on_build_end: list[str]
    on_experiment_start: list[str]
    on_experiment_end: list[str]


class ArgumentDocument(TypedDict):
    """An option or word of a script's command line, as typed and as the script got it."""

    name: str | None
    typed: str | None
    resolved: str | None


class ArrivedDocument(TypedDict):
    """How many bytes of a content the server has."""

    size: int


class ArtifactFolderDocument(TypedDict):
    """A page of a folder: its folders, then its files. Without a node, the nodes are the folders."""

    node: int | None
    path: str
    folders: list[FolderRow]
    files: list[ArtifactRow]
    total: int


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


class BlobDocument(TypedDict):
    """A blob that the server has now."""

    digest: str
    size: int


class CheckedClusterDocument(TypedDict):
    """What all machines of a cluster say about themselves."""

    cluster: str
    machines: list[CheckedMachine]


class CheckedMachine(TypedDict):
    """What a machine says about itself; `problem` when it does not, or what would keep a run from using it."""

    address: str
    hostname: str | None
    python: str | None
    executable: str | None
    ray: str | None
    torch: str | None
    torch_build: str | None
    lightning: str | None
    gpus: int | None
    gpu_models: list[str]
    gpus_are_simulated: bool
    mounts: str | None
    no_mounts: str | None
    round_trip_ms: float | None
    problem: str | None


class Choice(TypedDict):
    """Where a user's runs shall go."""

    cluster: str


class CloneRow(TypedDict):
    """A run that was started again."""

    run: str
    experiments: list[str]
    of: str


class ClonedDocument(TypedDict):
    """Runs that were started again."""

    runs: list[CloneRow]


class ClusterChanges(TypedDict):
    """What `grid edit cluster` asks for; None stays as it is, "" and 0 are as when nobody says anything."""

    address: str | None
    token: str | None
    possible: dict[str, int] | None
    work_dir: str | None
    python: str | None
    replace_s: float | None


class ClusterChoice(TypedDict):
    """A cluster that a run can go to."""

    cluster: str
    label: str
    default: bool


class ClusterChoices(TypedDict):
    """All clusters that a run can go to: this computer first."""

    clusters: list[ClusterChoice]


class ClusterDocument(TypedDict):
    """A cluster with its machines."""

    cluster: str
    engine: str
    address: str | None
    default: bool
    machine_count: int
    cpus: int
    gpus: int
    problem: str | None
    hosts: list[ClusterHost]
    machines: list[ClusterMachine]
    possible: list[PossibleMachines]


class ClusterHost(TypedDict):
    """A host on which the server has started the engine."""

    host: str
    address: str
    problem: str | None


class ClusterLogLine(TypedDict):
    """A line that an engine itself wrote."""

    host: str
    file: str
    at: str | None
    text: str


class ClusterLogsDocument(TypedDict):
    """The newest lines of a cluster's engine, oldest first; `problems` of the hosts that could not be asked."""

    cluster: str
    lines: list[ClusterLogLine]
    problems: list[ClusterHost]


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


class ClusterStartDocument(TypedDict):
    """How far the start of a cluster's hosts is; `error` is why it ended without them."""

    cluster: str
    lines: list[StartLine]
    is_over: bool
    error: ErrorText | None


class ClusterTemplateDocument(TypedDict):
    """A cluster file."""

    provider: str
    text: str
    types: dict[str, int]


class ClustersDocument(TypedDict):
    """All clusters, the server's computer first."""

    clusters: list[ClusterRow]


class Code(TypedDict):
    """What a sign-in link holds behind its `#`."""

    code: str


class CreatedDocument(TypedDict):
    """Answer to a new run."""

    run: str
    experiments: list[str]
    plan: PlanDocument


class CreatedUserDocument(TypedDict):
    """A new token, shown this once."""

    user: str
    token: str


class DatastoreDocument(TypedDict):
    """One version of a datastore, with who uses it."""

    name: str
    version: int
    state: str
    reason: str
    may_go_on: bool
    kind: str
    files: int
    size: int
    source: str
    digest: str | None
    user: str
    created_at: str
    used_by: list[DatastoreUseRow]
    protection: str
    location: str


class DatastoreFileRow(TypedDict):
    """A file of a datastore version."""

    path: str
    size: int
    sha256: str
    pin: str


class DatastoreFilesDocument(TypedDict):
    """A page of a version's files, by path; `total` and `size` are of all of them."""

    files: list[DatastoreFileRow]
    total: int
    size: int


class DatastoreRow(TypedDict):
    """One version of a datastore; of one that is being filled, `files` and `size` say what has come so far."""

    name: str
    version: int
    state: str
    reason: str
    may_go_on: bool
    kind: str
    files: int
    size: int
    source: str
    digest: str | None
    user: str
    created_at: str


class DatastoreUseRow(TypedDict):
    """A run that uses a version; `experiments` are those that have not ended."""

    run: str
    active: bool
    experiments: list[str]


class DatastoresDocument(TypedDict):
    """A page of datastore versions, newest first."""

    datastores: list[DatastoreRow]
    total: int


class DeletedDatastoreDocument(TypedDict):
    """Versions that are gone, and the bytes that this freed."""

    deleted: list[int]
    freed: int


class DeletedDocument(TypedDict):
    """Experiments that are gone."""

    deleted: list[str]


class Dependencies(TypedDict):
    """Packages that a tree says it needs."""

    file: str
    requirements: list[str]
    constraints: list[str]
    python: str | None
    editable: list[str]
    folders: list[str]


class DeviceDocument(TypedDict):
    """One real GPU of a node."""

    uuid: str
    name: str


class ErrorDocument(TypedDict):
    """Every answer that is no success."""

    error: ErrorText


class ErrorText(TypedDict):
    """What happened, with which value, and what to do next."""

    code: str
    message: str
    hint: str | None
    field: str | None


EventDocument = TypedDict(
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
"""One thing that happened; `from` and `to` are null for what is no change of state."""


class ExperimentDocument(TypedDict):
    """One experiment, with all that is known of it."""

    experiment: str
    run: str
    state: str
    reason: str
    stopping: bool
    exit_code: int | None
    command: str
    source: SourceDocument
    gpus: int
    machines: int
    nodes: int
    gpus_per_node: int
    world_size: int
    params: dict[str, object]
    arguments: list[ArgumentDocument]
    created_at: str
    started_at: str | None
    ended_at: str | None
    cluster: str
    instance_type: str
    simulated: bool
    devices: str
    hourly_cost: float
    cost: float
    attempts: int
    generations: int
    root_cause: RootCauseDocument | None
    user: str
    script: str
    framework: str
    price_per_hour: float
    environment: list[str]
    source_page: str | None
    plan: PlanDocument
    work_dir: str | None
    placement: list[MachineDocument]
    unreachable: list[UnreachableDocument]
    starts: list[StartDocument]
    events: list[EventDocument]


class ExperimentRow(TypedDict):
    """One experiment in a list; own and simulated machines cost nothing."""

    experiment: str
    run: str
    state: str
    reason: str
    stopping: bool
    exit_code: int | None
    command: str
    source: SourceDocument
    gpus: int
    machines: int
    nodes: int
    gpus_per_node: int
    world_size: int
    params: dict[str, object]
    arguments: list[ArgumentDocument]
    created_at: str
    started_at: str | None
    ended_at: str | None
    cluster: str
    instance_type: str
    simulated: bool
    devices: str
    hourly_cost: float
    cost: float
    attempts: int
    generations: int
    root_cause: RootCauseDocument | None


class ExperimentScalars(TypedDict):
    """All scalars of one experiment, by name."""

    experiment: str
    tags: list[ScalarValues]
    problems: list[FileProblem]
    cursor: str


class Extent(TypedDict):
    """Bytes of a pack."""

    pack: str
    offset: int
    size: int


Fault = Literal[
    "kill-rank",
    "hang-rank",
    "kill-machine",
    "partition-machine",
    "preempt",
    "kill-server",
]
"""What can be rehearsed on a running experiment."""


class FileProblem(TypedDict):
    """An event file of which not all could be read."""

    node: int
    path: str
    reason: str


class FolderRow(TypedDict):
    """A folder among an experiment's files; at the top, one node's."""

    name: str
    files: int
    size: int


class FrameDocument(TypedDict):
    """One line of a stack; files of the user's tree are relative to where the program started."""

    file: str
    line: int
    function: str


Framework = Literal[
    "lightning",
    "torch",
    "torchelastic",
    "tensorflow",
    "julia",
]
"""How the program expects to be started."""


class Gone(TypedDict):
    """What was watched does not exist any more."""

    kind: Literal["gone"]
    topic: str


class GpuDocument(TypedDict):
    """One GPU of a machine, and whose it is at this moment."""

    index: int
    uuid: str
    name: str
    memory_mib: int | None
    busy: str | None
    experiment: str | None
    user: str | None


class Hint(TypedDict):
    """Something has changed: its version is another one. What, a request tells."""

    kind: Literal["hint"]
    topic: str
    version: str


class HostDocument(TypedDict):
    """One machine and what runs on it."""

    hostname: str
    cluster: str
    cpus: int
    memory_mib: int
    available_mib: int | None
    cpu_ranks_used: int
    cpu_ranks_most: int
    gpus: list[GpuDocument]
    experiments: list[TenantDocument]


class InstanceTypeRow(TypedDict):
    """One type of machine; prices in US dollars per hour, null where there is none."""

    name: str
    value: str
    cloud: str
    label: str
    spot_label: str | None
    on_demand: float
    spot: float | None
    cpus: int
    gpus: int
    memory_gb: float
    accelerator: str
    gpu_memory_gb: int


class InstanceTypesDocument(TypedDict):
    """All types of machines: first this computer, or the machines that the cluster has."""

    instance_types: list[InstanceTypeRow]


class LabelValues(TypedDict):
    """A label's key, and the values that runs have."""

    key: str
    values: list[str]


class LinkRequest(TypedDict):
    """Where a sign-in link shall lead."""

    path: str


class LinkWish(TypedDict):
    """How long a link shall work."""

    valid_s: int


class Located(TypedDict):
    """Where one content is, for some minutes."""

    links: list[str]
    pieces: list[Piece]


class LogLineDocument(TypedDict):
    """One line of one stream; a very long one comes in pieces."""

    cursor: str
    end: str
    generation: int
    rank: int
    stream: str
    at: str
    text: str


class LogSearchDocument(TypedDict):
    """A line that was searched for; or the place to go on from; or neither: there is none."""

    cursor: str | None
    line: LogLineDocument | None
    next: str | None
    searched: int


class LogStreamRow(TypedDict):
    """What one rank has written to one stream in one generation."""

    generation: int
    rank: int
    stream: str
    size: int


class LogStreamsDocument(TypedDict):
    """All there is of an attempt's logs."""

    attempt: int | None
    attempts: list[int]
    final: bool
    size: int
    streams: list[LogStreamRow]


class LogWindowDocument(TypedDict):
    """Some lines of a log; `before` and `after` are the places at which it goes on."""

    attempt: int | None
    attempts: list[int]
    lines: list[LogLineDocument]
    before: str
    after: str
    at_start: bool
    at_end: bool
    start_fraction: float
    end_fraction: float
    size: int
    final: bool


class MachineDocument(TypedDict):
    """One machine of the newest attempt; before there is one, as it is planned."""

    machine: int
    hostname: str | None
    address: str | None
    state: str
    unreachable_since: str | None
    nodes: list[NodeDocument]


class MachinesDocument(TypedDict):
    """All machines of all clusters."""

    machines: list[HostDocument]
    queued: int


class MemoryDocument(TypedDict):
    """Memory when a rank ended, in MiB."""

    peak_mib: int | None
    available_mib: int | None


class MetricColumn(TypedDict):
    """A metric that some experiments of the run have."""

    tag: str
    goal: Literal["min", "max"]


class MissingPacks(TypedDict):
    """Packs that are not there: then nothing was taken in."""

    missing: list[str]


class MountDocument(TypedDict):
    """A datastore version that a script reads."""

    name: str
    version: int
    path: str
    text: str


class Names(TypedDict):
    """Runs or experiments, by name."""

    kind: Literal["run", "experiment"]
    names: list[str]


class NewCluster(TypedDict):
    """What `grid clusters add` asks for."""

    name: str
    engine: str
    address: str
    hosts: list[str]
    install: list[str]
    token: str | None
    possible: dict[str, int]
    work_dir: str
    python: str | None
    replace_s: float | None


class NewDatastore(TypedDict):
    """What shall become a datastore version."""

    source: str
    name: str | None
    upload: str | None
    refers: bool


class NewRun(TypedDict):
    """What the dialog's fields say, as they were typed."""

    link: str | None
    script: str
    copy_of: str | None
    name: str | None
    description: str
    arguments: str
    strategy: str
    num_trials: int | None
    seed: int | None
    framework: str
    cluster: str | None
    instance_type: str
    gpus: int | None
    cpus: int | None
    processes_per_node: int | None
    simulate: bool
    environment: dict[str, str]
    use_spot: bool
    auto_resume: bool
    datastore: str | None
    datastore_mount_dir: str | None
    labels: dict[str, str]
    python: str | None
    parallel: int | None
    max_restarts: int | None


class NewRunPlanDocument(TypedDict):
    """What the New run dialog's fields would start, or the problem with them."""

    plan: PlanDocument | None
    sentence: str
    problem: ErrorText | None
    command: str
    name: str
    link: PlaceDocument | None


class NewUser(TypedDict):
    """Who shall have an account."""

    name: str


class NodeDocument(TypedDict):
    """A share of one machine."""

    node: int
    gpus: int
    cpus: int
    devices: list[DeviceDocument]
    ranks: list[RankDocument]


class OfferedFile(TypedDict):
    """A file of a version."""

    position: int
    path: str
    size: int
    sha256: str
    executable: bool
    in_tree: bool


class OfferedFiles(TypedDict):
    """Files that a client has, in the order of their positions."""

    round: int
    files: list[OfferedFile]


class PackLink(TypedDict):
    """Where a pack is put to, for some minutes."""

    pack: str
    url: str


class PackLinks(TypedDict):
    """Answer to a list of packs: links for those that are not there. The others need not be brought."""

    links: list[PackLink]


class Packed(TypedDict):
    """A content, and where its bytes lie, in their order; nowhere, when it has none."""

    sha256: str
    extents: list[Extent]


class Piece(TypedDict):
    """Bytes that a link gives, for some minutes: a GET with a range."""

    link: int
    offset: int
    size: int


class Place(TypedDict):
    """Where a link led: what the dialog shows and lets people edit."""

    url: str
    ref: str
    commit: str
    path: str


class PlaceDocument(TypedDict):
    """Where a link led."""

    url: str
    ref: str
    commit: str
    path: str


class PlanDocument(TypedDict):
    """What will run where; core.gang.Plan."""

    cluster: str
    machines: int
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


class PlannedDocument(TypedDict):
    """Answer to a request that was only to be planned."""

    plan: PlanDocument


class PossibleMachines(TypedDict):
    """Machines that a cluster can start."""

    type: str
    most: int


class Preview(TypedDict):
    """A file as a page may show it."""

    kind: str
    text: str | None
    truncated: bool
    media_type: str | None
    reason: str


class Program(TypedDict):
    """What every rank runs."""

    kind: ProgramKind
    target: str
    arguments: list[str]


ProgramKind = Literal[
    "script",
    "module",
    "executable",
]
"""What the word after the options of `grid run` is."""


class QueueDocument(TypedDict):
    """A page of the queue, oldest first."""

    queue: list[QueueRow]
    total: int


class QueueRow(TypedDict):
    """An experiment that waits for machines."""

    position: int
    experiment: str
    run: str
    user: str
    reason: str
    gpus: int
    instance_type: str
    simulated: bool
    created_at: str


class RankDocument(TypedDict):
    """One rank in the newest generation."""

    rank: int
    local_rank: int
    state: str
    exit_code: int | None
    exception: str | None
    peak_mib: int | None


class Ready(TypedDict):
    """The first event of every connection."""

    kind: Literal["ready"]
    topics: list[TopicState]


class RehearsalDocument(TypedDict):
    """A fault that is brought about, in words."""

    experiment: str
    rehearsal: str


class RehearsalRequest(TypedDict):
    """What shall happen, to which rank or machine."""

    fault: Fault
    target: int | None
    confirmed: bool


class RemovedClusterDocument(TypedDict):
    """A cluster that is forgotten, the hosts on which its engine was ended, and those on which it may still run."""

    removed: str
    ended: list[str]
    left: list[ClusterHost]


class Reset(TypedDict):
    """Whoever reads was too slow: ask for everything anew."""

    kind: Literal["reset"]


class Resumed(TypedDict):
    """What shall go on."""

    kind: Literal["run", "experiment"]
    names: list[str]
    failed: bool


class ResumedDocument(TypedDict):
    """Experiments that go on, and those of a run that had not failed or been stopped."""

    resumed: list[str]
    left: list[str]


class RevokedDocument(TypedDict):
    """Whose token is worthless now."""

    revoked: str


class RootCauseDocument(TypedDict):
    """Why an experiment failed; `cause` is the line for people."""

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


class RunChange(TypedDict):
    """Experiments of a run that have changed; with `refetch`, more of them than are worth listing."""

    kind: Literal["run"]
    topic: str
    experiments: list[ExperimentRow]
    total: int
    refetch: bool


class RunDocument(TypedDict):
    """One run with all its experiments; `etag` changes when anything in it does."""

    run: str
    etag: str
    experiments: list[ExperimentRow]


class RunFiltersDocument(TypedDict):
    """What runs can be chosen by."""

    users: list[str]
    labels: list[LabelValues]


class RunNames(TypedDict):
    """Runs, by name."""

    names: list[str]


class RunRequestDocument(TypedDict):
    """What a run was made from; `held_back` names what is kept from who asks."""

    run: str
    request: RunSpec
    held_back: list[str]


class RunRow(TypedDict):
    """One run in a list; `queued` counts building and pending too, so that the five counts add up."""

    run: str
    created_at: str
    user: str
    description: str
    labels: dict[str, str]
    experiments: int
    queued: int
    running: int
    completed: int
    stopped: int
    failed: int
    waiting: str | None
    script: str
    instance_type: str
    gpus: int
    machines: int
    nodes: int
    gpus_per_node: int
    simulated: bool
    devices: str
    hourly_cost: float


class RunSpec(TypedDict):
    """Everything that one `grid run` asks for, as the user typed it; nothing here is resolved yet."""

    program: Program
    source: Source
    name: str | None
    description: str
    command: str
    cluster: str | None
    instance_type: str
    gpus: int | None
    cpus: int | None
    framework: Framework
    processes_per_node: int | None
    simulate: bool
    python: str | None
    shell: dict[str, str]
    environment: dict[str, str]
    grace_s: float
    strategy: Strategy
    num_trials: int | None
    seed: int | None
    max_experiments: int | None
    parallel: int | None
    fail_fast: bool
    max_time_s: float | None
    max_restarts: int | None
    labels: dict[str, str]
    datastore_name: str | None
    datastore_version: int | None
    datastore_mount_dir: str | None
    dependencies: Dependencies | None
    dependency_file: str | None
    actions: Actions
    secrets: list[str]
    use_spot: bool
    auto_resume: bool


class RunSummary(TypedDict):
    """One run without its experiments: what was asked for and what was planned."""

    run: str
    created_at: str
    user: str
    description: str
    labels: dict[str, str]
    experiments: int
    queued: int
    running: int
    completed: int
    stopped: int
    failed: int
    waiting: str | None
    script: str
    instance_type: str
    gpus: int
    machines: int
    nodes: int
    gpus_per_node: int
    simulated: bool
    devices: str
    hourly_cost: float
    command: str
    plan: PlanDocument
    source: SourceDocument
    framework: str
    strategy: str
    environment: list[str]
    started_at: str | None
    ended_at: str | None
    cost: float


class RunTag(TypedDict):
    """A scalar that some of a run's experiments have."""

    tag: str
    goal: Literal["min", "max"]
    experiments: int
    points: int
    first_step: int
    last_step: int


class RunTags(TypedDict):
    """All scalars of a run's experiments, by name."""

    run: str
    tags: list[RunTag]
    best_by: str | None


class RunsChange(TypedDict):
    """Runs that are new or have changed; with `refetch`, more of them than are worth listing."""

    kind: Literal["runs"]
    topic: str
    runs: list[RunRow]
    total: int
    refetch: bool


class RunsDocument(TypedDict):
    """A page of runs."""

    runs: list[RunRow]
    total: int
    not_active: int


class ScalarValues(TypedDict):
    """What a series of one experiment has come to."""

    tag: str
    goal: Literal["min", "max"]
    points: int
    first_step: int
    last_step: int
    last_at: str | None
    last: float | None
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None
    best: float | None
    best_step: int | None
    text: str | None


class SecretDocument(TypedDict):
    """A secret, without what is in it."""

    name: str
    changed_at: str


class SecretValue(TypedDict):
    """What a secret shall be."""

    value: str


class SecretsDocument(TypedDict):
    """All secrets of whoever asks."""

    secrets: list[SecretDocument]


class Sent(TypedDict):
    """All that the client has offered."""

    round: int
    digest: str
    files: int
    size: int


class SeriesAnswer(TypedDict):
    """The series that there are."""

    series: list[SeriesDocument]
    cursors: dict[str, str]
    reset: list[str]


class SeriesDocument(TypedDict):
    """One series inside the viewport."""

    experiment: str
    tag: str
    start: float
    total: int
    steps: list[int]
    times: list[float]
    values: list[float | None]
    not_finite: list[tuple[int, str]]
    is_append: bool


class SeriesRequest(TypedDict):
    """Which series to draw, and how."""

    experiments: list[str]
    tags: list[str]
    x: Literal["step", "time", "relative"]
    min: float | None
    max: float | None
    pixels: int | None
    since: dict[str, str]


class ServerDocument(TypedDict):
    """What a server says about itself."""

    pid: int
    url: str
    version: str
    started_at: str
    home: str


class SessionDocument(TypedDict):
    """Who asks, and whom."""

    user: str
    is_admin: bool
    expires_at: str | None
    version: str
    hostname: str


class SharedDocument(TypedDict):
    """A link that downloads a file without signing in."""

    url: str
    expires_at: str


class Shown(TypedDict):
    """What a TensorBoard shall show."""

    names: list[str]


class SignInLinkDocument(TypedDict):
    """A link that signs one browser in, once."""

    url: str
    path: str
    expires_at: str


class SignedInDocument(TypedDict):
    """A browser that is signed in now."""

    user: str
    path: str
    expires_at: str


class SilentRankDocument(TypedDict):
    """A rank of which there is no stack."""

    rank: int
    reason: str


class Source(TypedDict):
    """The user's tree that runs: a bundle of files, and where it came from."""

    bundle: str | None
    root: str
    directory: str
    kind: str
    commit: str | None
    patch: str | None
    modified: int
    files: int
    size: int
    link: str | None
    place: Place | None


class SourceDocument(TypedDict):
    """What code runs."""

    line: str
    ref: str | None
    root: str
    directory: str
    kind: str
    commit: str | None
    patch: str | None
    modified: int
    files: int
    size: int
    link: str | None
    place: PlaceDocument | None


class StackGroupDocument(TypedDict):
    """Ranks whose main threads have equal stacks; outermost frame first, as in a traceback."""

    ranks: list[int]
    top: str
    frames: list[FrameDocument]
    threads: list[ThreadDocument]


class StacksDocument(TypedDict):
    """Where all ranks of an experiment are, the most common stack first."""

    experiment: str
    groups: list[StackGroupDocument]
    silent: list[SilentRankDocument]


class StartDocument(TypedDict):
    """One start of all ranks; steps as far as the framework told them."""

    attempt: int
    generation: int
    started_at: str | None
    ended_at: str | None
    resumed_from: str | None
    first_step: int | None
    last_step: int | None
    lost_s: float | None
    lost_steps: int | None
    cause: str | None


class StartLine(TypedDict):
    """What is done on a host."""

    host: str
    text: str


class Stopped(TypedDict):
    """What shall stop."""

    kind: Literal["run", "experiment"]
    names: list[str]
    force: bool


class StoppedDocument(TypedDict):
    """Experiments that were asked to stop, and those that had ended before."""

    stopped: list[str]
    already: list[str]


Strategy = Literal[
    "grid_search",
    "random_search",
    "none",
]
"""What becomes of the expressions among a script's arguments."""


class SystemDocument(TypedDict):
    """How much an experiment uses of its machines: of its newest start, as last measured."""

    experiment: str
    series: list[SystemRow]


class SystemRow(TypedDict):
    """The newest sample of one series."""

    name: str
    subject: str
    number: int
    quantity: str
    unit: str
    value: float
    at: str


class TableColumns(TypedDict):
    """What can be a column."""

    params: list[str]
    metrics: list[MetricColumn]


class TableDocument(TypedDict):
    """A page of a run's experiments."""

    run: str
    total: int
    columns: TableColumns
    unknown: list[str]
    experiments: list[TableRow]


class TableRow(TypedDict):
    """One experiment with its metrics, by name."""

    experiment: str
    run: str
    state: str
    reason: str
    stopping: bool
    exit_code: int | None
    command: str
    source: SourceDocument
    gpus: int
    machines: int
    nodes: int
    gpus_per_node: int
    world_size: int
    params: dict[str, object]
    arguments: list[ArgumentDocument]
    created_at: str
    started_at: str | None
    ended_at: str | None
    cluster: str
    instance_type: str
    simulated: bool
    devices: str
    hourly_cost: float
    cost: float
    attempts: int
    generations: int
    root_cause: RootCauseDocument | None
    metrics: dict[str, ScalarValues]


class TenantDocument(TypedDict):
    """An experiment on a machine; machines, ranks and GPUs are those that it has there."""

    experiment: str
    run: str
    user: str
    state: str
    machines: int
    nodes: int
    ranks: int
    gpus: int
    simulated: bool
    started_at: str | None


class TensorBoardDocument(TypedDict):
    """A TensorBoard that answers."""

    view: str
    path: str


class ThreadDocument(TypedDict):
    """A stack that other threads than the main one have, in these ranks."""

    ranks: list[int]
    frames: list[FrameDocument]


class TopicState(TypedDict):
    """How a topic begins: fresh when all that was missed follows; else ask for it anew."""

    topic: str
    fresh: bool


class UnreachableDocument(TypedDict):
    """A machine whose agent should speak and does not, though the engine does not say that it is gone."""

    machine: int
    since: str


class UploadContents(TypedDict):
    """Contents that a client has put in packs."""

    round: int
    contents: list[Packed]


class UploadDocument(TypedDict):
    """A datastore version that takes its files, and the folders to put them in, on the server's host."""

    name: str
    version: int
    upload: str
    round: int
    staging: str
    tree: str | None
    least_free: int
    resumed: bool
    links: bool


class UploadPacks(TypedDict):
    """Packs that a client would put, by the SHA-256 of their bytes."""

    round: int
    packs: list[str]


class UserDocument(TypedDict):
    """Somebody with an account."""

    user: str
    is_active: bool
    is_admin: bool
    created_at: str


class UsersDocument(TypedDict):
    """All users, by name."""

    users: list[UserDocument]


class VerdictDocument(TypedDict):
    """What a look at every byte of a datastore version has found."""

    files: int
    damaged: list[str]
    repaired: list[str]


class WantedContents(TypedDict):
    """Contents that must be brought and then offered again, by their SHA-256."""

    wanted: list[str]


class WantedTemplate(TypedDict):
    """What `grid clusters template` asks for."""

    provider: str
    types: dict[str, int]
    region: str
    image: str | None
