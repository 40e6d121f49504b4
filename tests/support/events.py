"""Event files for tests, written by TensorBoard's own library."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Sequence

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter


def records(events: Iterable[Event]) -> bytes:
    """Return the bytes of an event file with these events."""
    file = io.BytesIO()
    writer = RecordWriter(file)
    for event in events:
        writer.write(event.SerializeToString())
    return file.getvalue()


def version() -> Event:
    """Return what every event file begins with."""
    return Event(wall_time=1000.0, file_version="brain.Event:2")


def scalar(tag: str, step: int, value: float, at: float | None = None) -> Event:
    """Return a scalar as torch's SummaryWriter and Lightning write it."""
    summary = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
    return Event(wall_time=1000.0 + step if at is None else at, step=step, summary=summary)


def scalars(tag: str, steps: Sequence[int], value: float = 0.0) -> bytes:
    """Return records of a scalar at these steps, with a value that grows by 1 each step."""
    return records(scalar(tag, step, value + step) for step in steps)


def torn(data: bytes, record: int) -> bytes:
    """Return a file whose record of this number has a length that does not fit its checksum."""
    at = 0
    for _ in range(record):
        at += struct.unpack_from("<Q", data, at)[0] + 16
    return data[:at] + struct.pack("<Q", 7) + data[at + 8 :]
