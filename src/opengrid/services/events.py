"""TensorBoard's Event, parsed by its own library: the one file that imports it, with the first event file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

#: What scalars are called in the metadata of a tensor.
_SCALARS = "scalars"

#: The number of a tensor's type that has four bytes.
_FLOAT = 1


class Value(Protocol):
    """One value of an Event's summary."""

    tag: str
    simple_value: float
    metadata: Any
    tensor: Any

    def HasField(self, name: str) -> bool:  # noqa: N802, D102 - protobuf's
        ...

    def WhichOneof(self, name: str) -> str | None:  # noqa: N802, D102 - protobuf's
        ...


class _Summary(Protocol):
    value: Sequence[Value]


class Event(Protocol):
    """What a record of an event file holds."""

    wall_time: float
    step: int
    summary: _Summary


def parse_event(data: bytes) -> Event:
    """Return the Event in these bytes; ValueError when there is none."""
    from google.protobuf.message import DecodeError
    from tensorboard.compat.proto import event_pb2  # pyright: ignore[reportMissingTypeStubs]

    try:
        return cast("Event", cast("Any", event_pb2).Event.FromString(data))
    except DecodeError as error:
        raise ValueError(f"no event: {error}") from error


def is_simple(value: Value) -> bool:
    """Whether a value is a number of four bytes, as torch and Lightning write it."""
    return value.WhichOneof("value") == "simple_value"


def is_float_tensor(value: Value) -> bool:
    """Whether a value is a tensor of numbers of four bytes."""
    return value.WhichOneof("value") == "tensor" and value.tensor.dtype == _FLOAT


def says_scalar(value: Value) -> bool:
    """Whether a value's metadata says that it is a scalar; writers say it with the first value of a tag."""
    return value.metadata.plugin_data.plugin_name == _SCALARS


def number_in(value: Value) -> float | None:
    """Return the number that a value is; None when it is something else."""
    if is_simple(value):
        return value.simple_value
    if value.WhichOneof("value") != "tensor":
        return None
    from tensorboard.util import tensor_util  # pyright: ignore[reportMissingTypeStubs] - for tensors: slow to import

    try:
        content = cast("Any", tensor_util).make_ndarray(value.tensor)
        return float(content.item()) if content.size == 1 else None
    except (TypeError, ValueError):
        return None
