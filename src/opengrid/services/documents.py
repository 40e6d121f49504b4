"""The documents that the user API answers. Their fields are the stable JSON of GRID.md's sections and of `-o json`.

Times are ISO 8601 in UTC. A page's TypeScript types are generated from these classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from opengrid.core.spec import RunSpec

#: Wire names that Python has other uses for.
From = Annotated[str | None, Field(alias="from")]
To = Annotated[str | None, Field(alias="to")]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
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
    waiting: str | None  #: why its oldest waiting experiment waits
    script: str
    instance_type: str
    gpus: int  #: per experiment
    machines: int  #: per experiment, as all that follow
    nodes: int
    gpus_per_node: int
    simulated: bool
    devices: str
    hourly_cost: float  #: of what runs now


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(RunRow):
    """One run without its experiments: what was asked for and what was planned."""

    command: str  #: as typed
    plan: PlanDocument
    source: SourceDocument
    framework: str
    strategy: str
    environment: list[str]  #: names of the variables that were set; their values may be secret
    started_at: str | None  #: when its first experiment began to run
    ended_at: str | None  #: when its last experiment ended
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsDocument:
    """A page of runs."""

    runs: list[RunRow]
    total: int
    not_active: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelValues:
    """A label's key, and the values that runs have."""

    key: str
    values: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiltersDocument:
    """What runs can be chosen by."""

    users: list[str]
    labels: list[LabelValues]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceDocument:
    """Where a link led."""

    url: str  #: of the repository
    ref: str  #: branch, tag or commit
    commit: str
    path: str  #: the program's, from the repository's root


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceDocument:
    """What code runs."""

    line: str  #: all of it, for people
    ref: str | None
    bundle: str | None  #: SHA-256 of the tree's bundle
    root: str
    directory: str
    kind: str  #: git | folder
    commit: str | None
    patch: str | None  #: SHA-256 of the difference to the commit
    modified: int
    files: int
    size: int
    link: str | None
    place: PlaceDocument | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MountDocument:
    """A datastore version that a script reads."""

    name: str
    version: int
    path: str  #: where the script finds it
    text: str  #: the same in words, with how it gets there


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanDocument:
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
    cost_per_hour: float  #: what its machines really cost: nothing where they are simulated, or somebody's own
    simulated: bool
    devices: str
    python: str | None
    source: str
    packages: str  #: what names the packages that ranks need beside the interpreter's, "" when nothing does
    link: PlaceDocument | None
    reason: str
    mounts: list[MountDocument]  #: datastore versions that the script sees
    layout: list[list[int]]  #: nodes of each machine


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedDocument:
    """Answer to a request that was only to be planned."""

    plan: PlanDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedDocument:
    """Answer to a new run."""

    run: str
    experiments: list[str]
    plan: PlanDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequestDocument:
    """What a run was made from; `held_back` names what is kept from who asks."""

    run: str
    request: RunSpec
    held_back: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDocument:
    """Memory when a rank ended, in MiB."""

    peak_mib: int | None
    available_mib: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCauseDocument:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentDocument:
    """An option or word of a script's command line, as typed and as the script got it."""

    name: str | None
    typed: str | None
    resolved: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDocument:
    """One run with all its experiments; `etag` changes when anything in it does."""

    run: str
    etag: str
    experiments: list[ExperimentRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreachableDocument:
    """A machine whose agent should speak and does not, though the engine does not say that it is gone."""

    machine: int
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDocument:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class EventDocument:
    """One thing that happened; `from` and `to` are null for what is no change of state."""

    at: str
    kind: str
    attempt: int | None
    generation: int | None
    before: From
    after: To
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDocument:
    """One real GPU of a node."""

    uuid: str
    name: str  #: "" when its computer does not have it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class RankDocument:
    """One rank in the newest generation."""

    rank: int
    local_rank: int
    state: str  #: waiting | starting | running | succeeded | failed | killed | ended
    exit_code: int | None
    exception: str | None
    peak_mib: int | None  #: most memory that it had


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDocument:
    """A share of one machine."""

    node: int
    gpus: int
    cpus: int
    devices: list[DeviceDocument]  #: empty on simulated and on CPU machines
    ranks: list[RankDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDocument:
    """One machine of the newest attempt; before there is one, as it is planned."""

    machine: int
    hostname: str | None
    address: str | None
    state: str  #: waiting | present | released | lost
    unreachable_since: str | None
    nodes: list[NodeDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentDocument(ExperimentRow):
    """One experiment, with all that is known of it."""

    user: str
    script: str
    framework: str
    price_per_hour: float  #: list price of all its machines
    environment: list[str]  #: names of the variables that it was given
    source_page: str | None  #: where the git host shows the script at the commit
    plan: PlanDocument
    work_dir: str | None
    placement: list[MachineDocument]
    unreachable: list[UnreachableDocument]
    starts: list[StartDocument]
    events: list[EventDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedDocument:
    """Experiments that were asked to stop, and those that had ended before."""

    stopped: list[str]
    already: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumedDocument:
    """Experiments that go on, and those of a run that had not failed or been stopped."""

    resumed: list[str]
    left: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedDocument:
    """Experiments that are gone."""

    deleted: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorText:
    """What happened, with which value, and what to do next."""

    code: str
    message: str
    hint: str | None
    field: str | None  #: of the request, where one is at fault


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRunPlanDocument:
    """What the New run dialog's fields would start, or the problem with them."""

    plan: PlanDocument | None
    sentence: str  #: the plan in one line
    problem: ErrorText | None
    command: str  #: the command line that starts the same; "" while there is none
    name: str  #: that the run would get
    link: PlaceDocument | None  #: where the link leads


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChoice:
    """A cluster that a run can go to."""

    cluster: str
    label: str
    default: bool  #: whether the user's runs go there when nothing else is said


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChoices:
    """All clusters that a run can go to: this computer first."""

    clusters: list[ClusterChoice]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTypeRow:
    """One type of machine; prices in US dollars per hour, null where there is none."""

    name: str
    value: str  #: names this machine alone, where several share a nickname
    cloud: str
    label: str  #: for people, with the price
    spot_label: str | None
    on_demand: float
    spot: float | None
    cpus: int
    gpus: int
    memory_gb: float
    accelerator: str
    gpu_memory_gb: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceTypesDocument:
    """All types of machines: first this computer, or the machines that the cluster has."""

    instance_types: list[InstanceTypeRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """Every answer that is no success."""

    error: ErrorText


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactRow:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactsDocument:
    """A page of an experiment's artifacts, by path and node."""

    artifacts: list[ArtifactRow]
    total: int
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow:
    """The newest sample of one series."""

    name: str  #: `subject/number/quantity`, as in a request for its points
    subject: str  #: machine | rank | gpu
    number: int  #: GPUs are numbered through the gang, node by node
    quantity: str
    unit: str  #: % | B | B/s
    value: float
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemDocument:
    """How much an experiment uses of its machines: of its newest start, as last measured."""

    experiment: str
    series: list[SystemRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsChange:
    """Runs that are new or have changed; with `refetch`, more of them than are worth listing."""

    kind: Literal["runs"] = "runs"
    topic: str
    runs: list[RunRow]
    total: int  #: runs that there are: another number than before means that some are new or gone
    refetch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange:
    """Experiments of a run that have changed; with `refetch`, more of them than are worth listing."""

    kind: Literal["run"] = "run"
    topic: str
    experiments: list[ExperimentRow]
    total: int  #: of the run's experiments
    refetch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Something has changed: its version is another one. What, a request tells."""

    kind: Literal["hint"] = "hint"
    topic: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone:
    """What was watched does not exist any more."""

    kind: Literal["gone"] = "gone"
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """How a topic begins: fresh when all that was missed follows; else ask for it anew."""

    topic: str
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """The first event of every connection."""

    kind: Literal["ready"] = "ready"
    topics: list[TopicState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset:
    """Whoever reads was too slow: ask for everything anew."""

    kind: Literal["reset"] = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderRow:
    """A folder among an experiment's files; at the top, one node's."""

    name: str
    files: int  #: in it and below
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFolderDocument:
    """A page of a folder: its folders, then its files. Without a node, the nodes are the folders."""

    node: int | None
    path: str
    folders: list[FolderRow]
    files: list[ArtifactRow]
    total: int  #: folders and files


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedDocument:
    """A link that downloads a file without signing in."""

    url: str
    expires_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLineDocument:
    """One line of one stream; a very long one comes in pieces."""

    cursor: str  #: the place before it
    end: str  #: the place after it
    generation: int
    rank: int
    stream: str
    at: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWindowDocument:
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
    final: bool  #: nothing will be added


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSearchDocument:
    """A line that was searched for; or the place to go on from; or neither: there is none."""

    cursor: str | None
    line: LogLineDocument | None
    next: str | None
    searched: int  #: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreamRow:
    """What one rank has written to one stream in one generation."""

    generation: int
    rank: int
    stream: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreamsDocument:
    """All there is of an attempt's logs."""

    attempt: int | None
    attempts: list[int]
    final: bool
    size: int
    streams: list[LogStreamRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuDocument:
    """One GPU of a machine, and whose it is at this moment."""

    index: int
    uuid: str  #: "" where the cluster does not tell
    name: str
    memory_mib: int | None
    busy: str | None  #: what others than this server's experiments do with it
    experiment: str | None
    user: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantDocument:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDocument:
    """One machine and what runs on it."""

    hostname: str
    cluster: str
    cpus: int
    memory_mib: int
    available_mib: int | None
    cpu_ranks_used: int
    cpu_ranks_most: int  #: 0 on clusters, whose machines rehearse nothing
    gpus: list[GpuDocument]
    experiments: list[TenantDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinesDocument:
    """All machines of all clusters."""

    machines: list[HostDocument]
    queued: int  #: experiments that wait


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow:
    """An experiment that waits for machines."""

    position: int  #: from 1
    experiment: str
    run: str
    user: str
    reason: str
    gpus: int
    instance_type: str
    created_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDocument:
    """A page of the queue, oldest first."""

    queue: list[QueueRow]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRow:
    """A run that was started again."""

    run: str
    experiments: list[str]
    of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedDocument:
    """Runs that were started again."""

    runs: list[CloneRow]
