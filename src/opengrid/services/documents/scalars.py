"""Scalars and samples: which there are, and series of them for charts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

from opengrid.planning.viewport import Axis
from opengrid.services.documents.document import Document

Goal = Literal["min", "max"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTag:
    """A scalar that some of a run's experiments have."""

    tag: str
    goal: Goal  #: which end of it is best
    experiments: int
    points: int
    first_step: int
    last_step: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTags(Document):
    """All scalars of a run's experiments, by name."""

    run: str
    tags: list[RunTag]
    best_by: str | None  #: the one that tells best which experiment is best


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalarValues:
    """What a series of one experiment has come to."""

    tag: str
    goal: Goal
    points: int
    first_step: int
    last_step: int
    last_at: str | None
    last: float | None  #: null: not finite, see `text`
    min: float | None  #: among the finite values
    min_step: int | None
    max: float | None
    max_step: int | None
    best: float | None
    best_step: int | None
    text: str | None = None  #: NaN, Infinity or -Infinity, when the last value is that


@dataclass(frozen=True, slots=True, kw_only=True)
class FileProblem:
    """An event file of which not all could be read."""

    node: int
    path: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentScalars(Document):
    """All scalars of one experiment, by name."""

    experiment: str
    tags: list[ScalarValues]
    problems: list[FileProblem]
    cursor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesRequest:
    """Which series to draw, and how."""

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 - pydantic's name for it

    experiments: Annotated[list[str], Field(max_length=1000)]
    tags: Annotated[list[str], Field(max_length=1000)]
    x: Axis = "step"
    min: float | None = None  #: viewport on x, included
    max: float | None = None
    pixels: Annotated[int, Field(ge=1, le=10_000)] | None = 1000  #: width of the plot; null: every point
    since: dict[str, str] = field(default_factory=dict[str, str])  #: by experiment, a cursor: only what came after


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesDocument:
    """One series inside the viewport."""

    experiment: str
    tag: str
    start: float  #: time of the experiment's first point
    total: int  #: points in the viewport before sampling
    steps: list[int]
    times: list[float]
    values: list[float | None]  #: null: not finite
    not_finite: list[tuple[int, str]]  #: place in `values`, and what stands there
    is_append: bool = False  #: to be added to what is known; else in its place


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAnswer(Document):
    """The series that there are."""

    series: list[SeriesDocument]
    cursors: dict[str, str]  #: by experiment
    reset: list[str]  #: experiments whose series were named anew: forget all that is known of them
