"""What the New run dialog shows."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document
from opengrid.services.documents.errors import ErrorText
from opengrid.services.documents.plans import PlaceDocument, PlanDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRunPlanDocument(Document):
    """What the New run dialog's fields would start, or the problem with them."""

    plan: PlanDocument | None
    sentence: str  #: the plan in one line
    problem: ErrorText | None
    command: str  #: the command line that starts the same; "" while there is none
    name: str  #: that the run would get
    link: PlaceDocument | None  #: where the link leads


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChoice(Document):
    """A cluster that a run can go to."""

    cluster: str
    label: str
    default: bool  #: whether the user's runs go there when nothing else is said


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChoices(Document):
    """All clusters that a run can go to: this computer first."""

    clusters: list[ClusterChoice]
