"""Logs as a page shows them."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLineDocument(Document):
    """One line of one stream; a very long one comes in pieces."""

    cursor: str  #: the place before it
    end: str  #: the place after it
    generation: int
    rank: int
    stream: str
    at: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWindowDocument(Document):
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
class LogSearchDocument(Document):
    """A line that was searched for; or the place to go on from; or neither: there is none."""

    cursor: str | None
    line: LogLineDocument | None
    next: str | None
    searched: int  #: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreamRow(Document):
    """What one rank has written to one stream in one generation."""

    generation: int
    rank: int
    stream: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LogStreamsDocument(Document):
    """All there is of an attempt's logs."""

    attempt: int | None
    attempts: list[int]
    final: bool
    size: int
    streams: list[LogStreamRow]
