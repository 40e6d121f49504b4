"""Clusters: listed, shown with their machines, started, asked, and what their engines wrote."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document
from opengrid.services.documents.errors import ErrorText


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRow(Document):
    """A cluster in a list."""

    cluster: str
    engine: str
    address: str | None
    default: bool  #: whether the runs of who asks go there
    machine_count: int
    cpus: int
    gpus: int
    problem: str | None  #: why it does not answer


@dataclass(frozen=True, slots=True, kw_only=True)
class ClustersDocument(Document):
    """All clusters, the server's computer first."""

    clusters: list[ClusterRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterMachine(Document):
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


@dataclass(frozen=True, slots=True, kw_only=True)
class PossibleMachines(Document):
    """Machines that a cluster can start."""

    type: str
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHost(Document):
    """A host on which the server has started the engine."""

    host: str
    address: str
    problem: str | None  #: null: its node has joined, or it answered


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDocument(ClusterRow):
    """A cluster with its machines."""

    hosts: list[ClusterHost]
    machines: list[ClusterMachine]
    possible: list[PossibleMachines]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedMachine(Document):
    """What a machine says about itself; `problem` when it does not, or what would keep a run from using it."""

    address: str
    hostname: str | None = None
    python: str | None = None
    executable: str | None = None  #: the ranks' interpreter, which has the packages below
    ray: str | None = None
    torch: str | None = None
    torch_build: str | None = None  #: CPU, CUDA 13.0, ROCm 6.4
    lightning: str | None = None
    gpus: int | None = None  #: as the engine counts them
    gpu_models: tuple[str, ...] = ()  #: that NVIDIA's driver shows
    gpus_are_simulated: bool = False  #: whether there is nothing that those which are counted could be
    mounts: str | None = None  #: how datastores are mounted for ranks: in a mount namespace, a user namespace; or not
    no_mounts: str | None = None  #: why not: arguments are rewritten
    round_trip_ms: float | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedClusterDocument(Document):
    """What all machines of a cluster say about themselves."""

    cluster: str
    machines: list[CheckedMachine]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLogLine(Document):
    """A line that an engine itself wrote."""

    host: str
    file: str
    at: str | None  #: where it, or a line before it, tells
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterLogsDocument(Document):
    """The newest lines of a cluster's engine, oldest first; `problems` of the hosts that could not be asked."""

    cluster: str
    lines: list[ClusterLogLine]
    problems: list[ClusterHost]


@dataclass(frozen=True, slots=True, kw_only=True)
class StartLine(Document):
    """What is done on a host."""

    host: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterStartDocument(Document):
    """How far the start of a cluster's hosts is; `error` is why it ended without them."""

    cluster: str
    lines: list[StartLine]
    is_over: bool
    error: ErrorText | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedClusterDocument(Document):
    """A cluster that is forgotten, the hosts on which its engine was ended, and those on which it may still run."""

    removed: str
    ended: list[str]
    left: list[ClusterHost]
