"""Experiments: in a row, and with all that is known of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from opengrid.services.documents.document import Document
from opengrid.services.documents.plans import PlanDocument, SourceDocument

#: Wire names that Python has other uses for.
From = Annotated[str | None, Field(alias="from")]
To = Annotated[str | None, Field(alias="to")]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryDocument(Document):
    """Memory when a rank ended, in MiB."""

    peak_mib: int | None
    available_mib: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RootCauseDocument(Document):
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
class ArgumentDocument(Document):
    """An option or word of a script's command line, as typed and as the script got it."""

    name: str | None
    typed: str | None
    resolved: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow(Document):
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
class UnreachableDocument(Document):
    """A machine whose agent should speak and does not, though the engine does not say that it is gone."""

    machine: int
    since: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartDocument(Document):
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
class EventDocument(Document):
    """One thing that happened; `from` and `to` are null for what is no change of state."""

    at: str
    kind: str
    attempt: int | None
    generation: int | None
    before: From
    after: To
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDocument(Document):
    """One real GPU of a node."""

    uuid: str
    name: str  #: "" when its computer does not have it any more


@dataclass(frozen=True, slots=True, kw_only=True)
class RankDocument(Document):
    """One rank in the newest generation."""

    rank: int
    local_rank: int
    state: str  #: waiting | starting | running | succeeded | failed | killed | ended
    exit_code: int | None
    exception: str | None
    peak_mib: int | None  #: most memory that it had


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeDocument(Document):
    """A share of one machine."""

    node: int
    gpus: int
    cpus: int
    devices: list[DeviceDocument]  #: empty on simulated and on CPU machines
    ranks: list[RankDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineDocument(Document):
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
