"""What the stream of a page carries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from opengrid.services.documents.document import Document
from opengrid.services.documents.experiments import ExperimentRow
from opengrid.services.documents.runs import RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class RunsChange(Document):
    """Runs that are new or have changed; with `refetch`, more of them than are worth listing."""

    kind: Literal["runs"] = "runs"
    topic: str
    runs: list[RunRow]
    total: int  #: runs that there are: another number than before means that some are new or gone
    refetch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunChange(Document):
    """Experiments of a run that have changed; with `refetch`, more of them than are worth listing."""

    kind: Literal["run"] = "run"
    topic: str
    experiments: list[ExperimentRow]
    total: int  #: of the run's experiments
    refetch: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint(Document):
    """Something has changed: its version is another one. What, a request tells."""

    kind: Literal["hint"] = "hint"
    topic: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gone(Document):
    """What was watched does not exist any more."""

    kind: Literal["gone"] = "gone"
    topic: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState(Document):
    """How a topic begins: fresh when all that was missed follows; else ask for it anew."""

    topic: str
    fresh: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready(Document):
    """The first event of every connection."""

    kind: Literal["ready"] = "ready"
    topics: list[TopicState]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(Document):
    """Whoever reads was too slow: ask for everything anew."""

    kind: Literal["reset"] = "reset"
