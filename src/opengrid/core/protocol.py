"""What agents and the server say to one another, over HTTP and JSON, under /agent/v1.

An agent says hello, then holds one long poll on its desired state and sends numbered facts on another connection. The
desired state is whole every time, so a lost answer loses nothing; facts repeat until acknowledged.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

from opengrid.core.gang import Gang
from opengrid.core.mounts import Mount
from opengrid.core.packs import Piece
from opengrid.core.spec import Framework, Program

#: Version of these messages; a server speaks this one and the one before.
PROTOCOL = 1

#: How long the server holds a poll for which nothing changes, in seconds.
POLL_S = 25.0

#: Most files in one offer of artifacts.
MOST_ARTIFACTS = 500

#: Most bytes of one rank's stacks; of longer ones the end is sent, where the main thread's is.
MOST_STACKS_BYTES = 64 << 10

#: Header of a log upload: `offset:ns,offset:ns …`, see PUT logs in docs/architecture.md.
LOG_INDEX_HEADER = "Grid-Log-Index"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """What the engine hands to an agent it starts (a 0600 file, or the engine's own secret channel)."""

    attempt_id: str
    machine: int
    token: str  #: single use, short-lived
    url: str | None = None  #: the server's address
    server_file: str | None = None  #: or the file that tells it, read again whenever the server does not answer
    certificate: str | None = None  #: file of the certificate to expect at `url`
    state_dir: str  #: where the agent keeps lock, sockets, log spool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hello:
    """First message of an agent: POST /agent/v1/hello with the ticket's token as bearer."""

    protocol: int
    attempt_id: str
    machine: int
    session: str  #: secret chosen by the agent: bearer of all later requests; repeating a hello with it is harmless
    hostname: str
    address: str  #: where other machines reach this one
    pid: int
    boot_id: str
    now_ns: int
    devices: tuple[str, ...] = ()  #: GPUs that the engine gave it, where the server does not choose them
    is_bare: bool = False  #: whether they are only counted there: the machine has no accelerator


@dataclass(frozen=True, slots=True, kw_only=True)
class Packages:
    """What a machine installs beside its interpreter's own packages, where the server cannot do it."""

    file: str  #: of the user's tree, that names them; "" for none
    requirements: tuple[str, ...]  #: lines as in requirements.txt, options among them
    constraints: tuple[str, ...] = ()
    editable: tuple[str, ...] = ()  #: folders among the requirements of which only the requirements are installed
    before: tuple[str, ...] = ()  #: bash commands before they are installed, in a copy of the user's tree
    after: tuple[str, ...] = ()  #: the same after that
    directory: str = "."  #: of the tree, where these commands start
    needs_the_tree: bool = False  #: for commands, or because some of the requirements are folders of it
    folder: str  #: where what was installed is kept, for all experiments


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """Answer to hello: everything about the attempt that does not change while it lasts."""

    experiment_id: str
    experiment: str
    run: str
    attempt: int
    machine: int
    user: str
    cluster: str
    instance_type: str
    simulated: bool
    framework: Framework
    program: Program
    python: str | None
    gang: Gang
    devices: tuple[tuple[str, ...], ...]  #: GPU UUIDs of each node of this machine
    counted: bool = False  #: whether these GPUs are only counted: CPU ranks stand in for them
    environment: dict[str, str]  #: of the user's shell and --env, complete; ranks' own variables come on top
    user_set: tuple[str, ...]  #: names in `environment` that the user gave with --env
    bundle: str  #: sha256 of the user's tree
    bundle_path: str | None  #: where the bundle lies, when server and agent share a disk
    directory: str  #: where the program starts, inside the tree
    work_dir: str  #: same absolute path on every machine; simulated machines put their nodes' folders below it
    salvage: str | None = None  #: work folder of the attempt before, which was lost before all of it was collected
    preload: tuple[str, ...]  #: modules of the template
    now_ns: int
    max_restarts: int = 0  #: for the ranks' TORCHELASTIC_MAX_RESTARTS
    collects: bool = False  #: whether new files of the work folders are sent to the server
    mounts: tuple[Mount, ...] = ()  #: datastore versions that the ranks see
    data_cache: str | None = None  #: where contents of its mounts are fetched to and kept; None: their trees are there
    data_cache_bytes: int = 50 << 30  #: most bytes of contents that are kept, but for what is in use
    least_free: int = 0  #: bytes of the machine's disks below which nothing new is begun there
    staging: str | None = None  #: a folder to put them into, when server and agent share a disk
    has_links: bool = False  #: whether they go to and come from a bucket by links; else by HTTP
    overlay: str | None = None  #: folder with the packages that the interpreter lacks
    folders: tuple[str, ...] = ()  #: of the tree, from which ranks import before all else
    packages: Packages | None = None  #: what the machine puts into such a folder itself
    masked: tuple[str, ...] = ()  #: values in `environment` that no log may show
    on_start: tuple[str, ...] = ()  #: bash commands before the first ranks, once per node
    on_end: tuple[str, ...] = ()  #: the same after the last ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreFile:
    """A file that ranks shall find in their work folders."""

    node: int | None  #: whose work folder; None: every node's
    path: str  #: relative to it, with `/`
    size: int
    sha256: str
    modified_us: int
    source: str | None = None  #: where its content lies, when server and agent share a disk; else by HTTP
    text: str | None = None  #: its content, where it is no artifact as it was collected


@dataclass(frozen=True, slots=True, kw_only=True)
class Restore:
    """GET /agent/v1/restore/{generation}: what is put back before its ranks start, and from where they may go on."""

    checkpoint: str | None = None  #: file or folder, relative to a node's work folder
    is_lightning: bool = False  #: whether Lightning wrote it
    files: tuple[RestoreFile, ...] = ()
    aside: tuple[
        str, ...
    ] = ()  #: newer checkpoints that are not used, renamed lest the script takes one for the newest


class Phase(str, Enum):
    """What a machine shall be doing."""

    WAIT = "wait"  #: nothing yet: other machines are missing
    PREPARE = "prepare"  #: end and reap older ranks, make folders, machine 0 opens the store
    RESTORE = "restore"  #: put files back into the work folders
    RUN = "run"  #: ranks forked
    STOP = "stop"  #: ranks ended, as `stop` says
    RELEASED = "released"  #: upload what is left, say released, end


class Fault(str, Enum):
    """What can be rehearsed on a running experiment."""

    KILL_RANK = "kill-rank"  #: SIGKILL to one rank
    HANG_RANK = "hang-rank"  #: one rank stands still until it is killed
    KILL_MACHINE = "kill-machine"  #: the agent of one machine dies, and its ranks with it
    PARTITION_MACHINE = "partition-machine"  #: one machine is cut off for PARTITION_S, its ranks stand still
    PREEMPT = "preempt"  #: one machine is told that it goes away
    KILL_SERVER = "kill-server"  #: the server dies


#: How long a rehearsed partition lasts.
PARTITION_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """A fault that one machine brings about on itself, once."""

    number: int  #: higher than that of any earlier one
    generation: int  #: only while this one runs
    fault: Fault
    machine: int
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """How ranks are ended: an optional SIGTERM to all, then this long, then SIGKILL to each rank's session."""

    terminate: bool
    grace_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The whole desired state of one machine: GET /agent/v1/desired?version=N&stacks=N, with what is known of it."""

    version: int
    generation: int
    phase: Phase
    store_address: str | None = None
    store_port: int | None = None
    stop: Stop | None = None
    flush_interval_s: float = 2.0  #: how often logs are sent; short while someone follows
    rehearsals: tuple[Rehearsal, ...] = ()  #: the newest last
    stacks: int = 0  #: request for all ranks' stacks, to be answered once if it is higher than the last; 0 = none
    now_ns: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """This machine is ready to fork the ranks of a generation."""

    kind: Literal["prepared"] = "prepared"
    generation: int
    store_port: int | None = None  #: from machine 0
    launch: str = "fork"  #: fork | exec, as far as is known before
    launch_reason: str = ""  #: why not fork; else whether the template was warm
    packages: tuple[str, ...] = ()  #: from machine 0, where the server cannot look: what ranks find, as `name==version`


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """This machine cannot prepare a generation yet, and goes on by itself."""

    kind: Literal["waits"] = "waits"
    generation: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What the generation goes on from lies in this machine's work folders."""

    kind: Literal["restored"] = "restored"
    generation: int
    notes: tuple[str, ...] = ()  #: what people should know, such as a torn file that was put aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """All ranks of this machine exist."""

    kind: Literal["started"] = "started"
    generation: int
    at_ns: int
    pids: dict[str, int] = field(default_factory=dict[str, int])  #: rank (as text) → pid
    launch: str = "fork"  #: fork | exec
    launch_reason: str = ""  #: why not fork


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """One rank ended."""

    kind: Literal["exited"] = "exited"
    generation: int
    rank: int
    exit_code: int  #: negative: by that signal
    at_ns: int  #: the machine's clock
    exception: str | None = None
    frame: str | None = None
    log_tail: str = ""
    peak_mib: int | None = None  #: most resident memory of its process
    available_mib: int | None = None  #: of the machine's memory, right after its end
    oom_killed: bool | None = None  #: by the kernel, for want of memory; None: not known


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """No rank of the generation is left on this machine."""

    kind: Literal["ended"] = "ended"
    generation: int
    met: bool | None = None  #: whether any rank connected to the store; machine 0 knows, the others say None
    first_step: int | None = None  #: of the training, as far as its framework told; rank 0's machine knows
    last_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """This machine cannot prepare or run a generation."""

    kind: Literal["broken"] = "broken"
    generation: int
    message: str
    is_retryable: bool = False  #: a process of ours died, or a store was away: another generation may do


@dataclass(frozen=True, slots=True, kw_only=True)
class Preempted:
    """This machine was told (by SIGTERM) that it goes away soon."""

    kind: Literal["preempted"] = "preempted"


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsavedFile:
    """A file that should have become an artifact and could not."""

    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsaved:
    """What this machine could not save of the experiment's files; said at the end, when there is any."""

    kind: Literal["unsaved"] = "unsaved"
    files: tuple[UnsavedFile, ...]  #: the first few
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Everything is uploaded; the agent ends now."""

    kind: Literal["released"] = "released"


Fact = Prepared | Waits | Restored | Started | Exited | Ended | Broken | Preempted | Unsaved | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """POST /agent/v1/facts: facts `first`, `first + 1`, …; repeated until acknowledged."""

    first: int
    facts: tuple[Fact, ...]
    now_ns: int  #: the agent's clock when sent


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """Highest fact number that the server has stored."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactFile:
    """One version of a file that a node has written."""

    node: int
    path: str  #: relative to the node's work folder, with `/`
    size: int
    sha256: str
    modified_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifacts:
    """POST /agent/v1/artifacts: record these files, as far as the server has their content. Repeating is harmless."""

    files: tuple[ArtifactFile, ...]  #: at most MOST_ARTIFACTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Answer to Artifacts: files with these contents were not recorded. Bring the contents, then offer them again.

    To bring is to PUT it to /agent/v1/artifacts/contents/{sha256}, or to copy it into the staging folder under its
    SHA-256, from where the offer takes it away; or, where the assignment has links, what core.packs says.
    """

    contents: tuple[str, ...]
    coming: tuple[
        str, ...
    ] = ()  #: nor were those with these, which another machine of the gang brings: offer them later


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStacks:
    """The stacks of one rank, or why there are none."""

    rank: int
    text: str = ""  #: what faulthandler wrote: every thread, the main one last
    reason: str = ""  #: why there is no text
    folder: str = ""  #: where the rank's tree lies, as its files' names begin in the text


@dataclass(frozen=True, slots=True, kw_only=True)
class Stacks:
    """POST /agent/v1/stacks: the answer of one machine to a request for stacks. Sent once; a lost one is missed."""

    number: int  #: of the request, from the desired state
    ranks: tuple[RankStacks, ...]  #: all ranks of the machine


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFile:
    """A file of a datastore version."""

    path: str  #: relative, with `/`
    size: int
    sha256: str  #: of the content; where that is not known, of what names it, and of `etag`
    executable: bool = False
    pieces: tuple[Piece, ...] = ()  #: where its bytes are, in their order
    etag: str | None = None  #: of the object that is referred to: its content is not known by a digest


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFiles:
    """A page of them, with links that work for some minutes: GET /agent/v1/data/{name}/{version}/files."""

    files: tuple[DataFile, ...]
    total: int
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GangOrders:
    """What the driver of a gang inside a cluster shall do: GET /agent/v1/gangs/{attempt}?known=ETAG."""

    etag: str  #: changes whenever anything else does
    starts: tuple[int, ...]  #: how often the agent of each machine shall have been started by now
    released: bool  #: start nothing more; end when the agents have
    token: str  #: for the agents
    is_told: bool = True  #: whether this server has heard how the gang stands; one that was restarted has not


@dataclass(frozen=True, slots=True, kw_only=True)
class GangReport:
    """How a gang stands, whole every time: POST /agent/v1/gangs/{attempt}."""

    started: tuple[int, ...]  #: how often the agent of each machine was started
    gone: tuple[str | None, ...]  #: of each machine whose last agent is certainly gone: its last words
    placed: bool  #: whether all machines were reserved
    reason: str = ""  #: why not yet
