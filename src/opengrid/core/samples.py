"""What agents measure of their machine while ranks run: numbers of fixed size, appended to a file per generation."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True)
class Measure:
    """One thing that is measured of each rank, GPU or machine."""

    code: int  #: in the file; never given to another one
    subject: str  #: rank | gpu | machine
    name: str
    unit: str  #: % | B | B/s


class Quantity(Enum):
    """All that is measured. A series is called `subject/number/name`, such as `rank/3/cpu`.

    GPUs are numbered through the gang, node by node: where nodes have a rank for each GPU, a rank's GPU has its number.
    """

    RANK_CPU = Measure(1, "rank", "cpu", "%")  #: of one processor, with all processes of the rank's session
    RANK_MEMORY = Measure(2, "rank", "memory", "B")  #: resident; pages that processes share count in each
    GPU_USE = Measure(3, "gpu", "use", "%")  #: of the time in which something ran on it
    GPU_MEMORY = Measure(4, "gpu", "memory", "B")  #: in use, by whomever
    MACHINE_CPU = Measure(5, "machine", "cpu", "%")  #: of all its processors, whoever uses them
    MACHINE_MEMORY = Measure(6, "machine", "memory", "B")  #: that programs cannot get any more
    MACHINE_RECEIVED = Measure(7, "machine", "received", "B/s")  #: over all network interfaces but loopback
    MACHINE_SENT = Measure(8, "machine", "sent", "B/s")
    MACHINE_READ = Measure(9, "machine", "read", "B/s")  #: from its disks
    MACHINE_WRITTEN = Measure(10, "machine", "written", "B/s")


@dataclass(frozen=True, slots=True)
class Sample:
    """One number."""

    quantity: Quantity
    number: int  #: of the rank, GPU or machine
    value: float


#: Seconds since the epoch as the server counts them, the quantity's code, the number of its subject, the value.
RECORD = struct.Struct("<dHHf")


def series_name(quantity: Quantity, number: int) -> str:
    """Return what the series of one subject is called."""
    return f"{quantity.value.subject}/{number}/{quantity.value.name}"


def parse_series(name: str) -> tuple[Quantity, int] | None:
    """Return what a series' name says; None when it is no such name."""
    subject, _, rest = name.partition("/")
    number, _, what = rest.partition("/")
    if not (number.isascii() and number.isdecimal() and len(number) <= 5):
        return None
    found = (q for q in Quantity if (q.value.subject, q.value.name) == (subject, what))
    return next(((quantity, int(number)) for quantity in found), None)


def encode(at_s: float, samples: Iterable[Sample]) -> bytes:
    """Return samples of one moment as they lie in the file."""
    return b"".join(RECORD.pack(at_s, s.quantity.value.code, s.number, s.value) for s in samples)
