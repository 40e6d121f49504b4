"""Runs: made, listed, shown, stopped, resumed, deleted, cloned."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.core.spec import RunSpec
from opengrid.services.documents.document import Document
from opengrid.services.documents.experiments import ExperimentRow
from opengrid.services.documents.plans import PlanDocument, SourceDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow(Document):
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
class RunsDocument(Document):
    """A page of runs."""

    runs: list[RunRow]
    total: int
    not_active: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelValues(Document):
    """A label's key, and the values that runs have."""

    key: str
    values: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFiltersDocument(Document):
    """What runs can be chosen by."""

    users: list[str]
    labels: list[LabelValues]


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedDocument(Document):
    """Answer to a new run."""

    run: str
    experiments: list[str]
    plan: PlanDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequestDocument(Document):
    """What a run was made from; `held_back` names what is kept from who asks."""

    run: str
    request: RunSpec
    held_back: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunDocument(Document):
    """One run with all its experiments; `etag` changes when anything in it does."""

    run: str
    etag: str
    experiments: list[ExperimentRow]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoppedDocument(Document):
    """Experiments that were asked to stop, and those that had ended before."""

    stopped: list[str]
    already: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumedDocument(Document):
    """Experiments that go on, and those of a run that had not failed or been stopped."""

    resumed: list[str]
    left: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedDocument(Document):
    """Experiments that are gone."""

    deleted: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CloneRow(Document):
    """A run that was started again."""

    run: str
    experiments: list[str]
    of: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClonedDocument(Document):
    """Runs that were started again."""

    runs: list[CloneRow]
