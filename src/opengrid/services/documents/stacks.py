"""Where the ranks of a running experiment are."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameDocument(Document):
    """One line of a stack; files of the user's tree are relative to where the program started."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadDocument(Document):
    """A stack that other threads than the main one have, in these ranks."""

    ranks: list[int]
    frames: list[FrameDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class StackGroupDocument(Document):
    """Ranks whose main threads have equal stacks; outermost frame first, as in a traceback."""

    ranks: list[int]
    top: str  #: where they are, on one line
    frames: list[FrameDocument]
    threads: list[ThreadDocument]


@dataclass(frozen=True, slots=True, kw_only=True)
class SilentRankDocument(Document):
    """A rank of which there is no stack."""

    rank: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StacksDocument(Document):
    """Where all ranks of an experiment are, the most common stack first."""

    experiment: str
    groups: list[StackGroupDocument]
    silent: list[SilentRankDocument]
