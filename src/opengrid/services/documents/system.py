"""How much experiments use of their machines."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemRow(Document):
    """The newest sample of one series."""

    name: str  #: `subject/number/quantity`, as in a request for its points
    subject: str  #: machine | rank | gpu
    number: int  #: GPUs are numbered through the gang, node by node
    quantity: str
    unit: str  #: % | B | B/s
    value: float
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemDocument(Document):
    """How much an experiment uses of its machines: of its newest start, as last measured."""

    experiment: str
    series: list[SystemRow]
