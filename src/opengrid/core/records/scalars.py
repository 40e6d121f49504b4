"""Event files, and what the scalars in them have come to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFile:
    """A file that one node writes for TensorBoard, as far as the server has it and has read it."""

    experiment_id: str
    number: int  #: from 1, inside the experiment
    attempt: int  #: number of the attempt in which it is written
    generation: int  #: and of the generation
    node: int  #: index of the node that writes it
    path: str  #: relative to the node's work folder, with `/`
    label: str = ""  #: what its series' names say of it
    tags: tuple[str, ...] = ()  #: of the scalars in it, as first seen
    offset: int = 0  #: bytes that were read
    points: int = 0  #: scalars in those
    problem: str | None = None  #: why nothing behind the offset is read
    damaged: int = 0  #: records before the offset that are left out, as they are not what was written
    damaged_at: int | None = None  #: where the first of them begins

    @property
    def start(self) -> tuple[int, int]:
        """The start of the ranks that write it; later ones compare as greater."""
        return self.attempt, self.generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a series of scalars has come to."""

    points: int
    first_step: int
    last_step: int
    last_us: int  #: when the last point was written
    last: float | None  #: None: not finite
    last_text: str | None = None  #: then what it is: NaN, Infinity or -Infinity
    least: float | None = None  #: among the finite values
    least_step: int | None = None
    greatest: float | None = None
    greatest_step: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Scalar(Summary):
    """One series of an experiment."""

    experiment_id: str
    run_id: str
    tag: str  #: its name
