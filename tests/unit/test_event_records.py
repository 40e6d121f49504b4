"""Scalars out of event files: against TensorBoard's own parser, in pieces, and damaged."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.util import tensor_util
from tests.support.events import records, scalar, torn, version

from opengrid.services.event_records import MOST_TAGS, decode
from opengrid.services.record_checksums import checksum


def told(decoded: object) -> list[tuple[str, int, float, float]]:
    """Return what was read, in its order."""
    return [(decoded.tags[p["tag"]], int(p["step"]), float(p["time"]), float(p["value"])) for p in decoded.points]


def expected(events: list[Event]) -> list[tuple[str, int, float, float]]:
    return [(v.tag, e.step, e.wall_time, v.simple_value) for e in events for v in e.summary.value]


def same(one: list[tuple[str, int, float, float]], other: list[tuple[str, int, float, float]]) -> bool:
    pairs = zip(one, other, strict=False)
    return len(one) == len(other) and all(a[:3] == b[:3] and str(a[3]) == str(b[3]) for a, b in pairs)


_events = st.builds(
    scalar,
    tag=st.sampled_from(["loss", "val/loss", "a", "", "train_loss_step", "größe", "x" * 600]),
    step=st.one_of(
        st.integers(0, 300), st.integers(0, 2**62), st.sampled_from([0, 1, 127, 128, 2**31, 2**42 - 1, 2**42, -1])
    ),
    value=st.floats(width=32),
    at=st.floats(0, 2e9),
)


@given(events=st.lists(_events, max_size=40), size=st.integers(20, 3000))
def test_any_scalars_are_read_as_tensorboard_parses_them_however_the_file_is_cut(
    events: list[Event], size: int
) -> None:
    data = records([version(), *events])
    assert same(told(decode(data)), expected(events))
    rest, tags, found = b"", (), []
    for at in range(0, len(data), size):
        rest += data[at : at + size]
        piece = decode(rest, tags)
        assert piece.problem is None
        rest, tags = rest[piece.consumed :], piece.tags
        found += told(piece)
    assert rest == b""
    assert same(found, expected(events))


def test_several_values_in_one_event_are_all_read() -> None:
    values = [Summary.Value(tag="a", simple_value=1.0), Summary.Value(tag="b", simple_value=2.0)]
    events = [Event(wall_time=1.0, step=s, summary=Summary(value=values)) for s in range(3)]
    assert same(told(decode(records(events))), expected(events))


def _tensor(tag: str, step: int, tensor: TensorProto, plugin: str | None) -> Event:
    metadata = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name=plugin)) if plugin else None
    return Event(
        wall_time=1.0, step=step, summary=Summary(value=[Summary.Value(tag=tag, tensor=tensor, metadata=metadata)])
    )


@pytest.mark.parametrize(
    "number",
    [
        tensor_util.make_tensor_proto(np.float32(0.5)),
        tensor_util.make_tensor_proto(np.float64(0.5)),
        TensorProto(dtype=1, float_val=[0.5]),
        TensorProto(dtype=1, tensor_content=struct.pack("<f", 0.5)),
    ],
    ids=["float", "double", "float_val", "tensor_content"],
)
def test_tensors_that_are_scalars_are_read_and_their_kind_is_said_only_once(number: TensorProto) -> None:
    events = [_tensor("loss", 0, number, "scalars"), *(_tensor("loss", s, number, None) for s in (1, 2, 300))]
    first = decode(records(events[:2]))
    assert told(first) == [("loss", 0, 1.0, 0.5), ("loss", 1, 1.0, 0.5)]
    assert told(decode(records(events[2:]), first.tags)) == [("loss", 2, 1.0, 0.5), ("loss", 300, 1.0, 0.5)]


def test_images_text_hyperparameters_and_histograms_are_left_out() -> None:
    text = tensor_util.make_tensor_proto(np.array(["hello"], dtype=object))
    vector = tensor_util.make_tensor_proto(np.zeros(8, np.float32))
    image = Summary.Image(height=1, width=1, colorspace=1, encoded_image_string=b"x" * 100_000)
    others = [
        _tensor("note", 0, text, "text"),
        _tensor("note", 1, text, None),
        _tensor("pr", 0, vector, "pr_curves"),
        _tensor("_hparams_/session_start_info", 0, tensor_util.make_tensor_proto(np.float32(0)), "hparams"),
        Event(wall_time=1.0, step=1, summary=Summary(value=[Summary.Value(tag="image", image=image)])),
        Event(wall_time=1.0, step=1, graph_def=b"graph"),
    ]
    found = decode(records([version(), *others, scalar("loss", 3, 0.5)]))
    assert (told(found), found.tags, found.problem) == ([("loss", 3, 1003.0, 0.5)], ("loss",), None)


def test_a_record_that_is_not_whole_waits_for_its_rest() -> None:
    data = records([scalar("loss", 1, 1.0), scalar("loss", 2, 2.0)])
    for cut in range(len(data) // 2, len(data)):
        found = decode(data[:cut])
        assert (len(found.points), found.consumed, found.problem) == (1, len(data) // 2, None)
    assert decode(data[: len(data) // 2 + 12]).needed == len(data) // 2


@pytest.mark.parametrize("record", [0, 5, 9])
def test_of_a_corrupt_file_what_comes_before_the_damage_is_read(record: int) -> None:
    events = [scalar("loss", step, 1.0) for step in range(1, 11)]
    data = records(events)
    found = decode(torn(data, record))
    assert same(told(found), expected(events[:record]))
    assert (found.consumed, found.problem) == (
        len(data) // 10 * record,
        "the length of a record does not fit its checksum",
    )
    no_event = bytearray(data)
    begin, size = len(data) // 10 * record + 12, len(data) // 10 - 16
    no_event[begin : begin + 4] = b"\xff" * 4
    no_event[begin + size : begin + size + 4] = checksum(bytes(no_event[begin : begin + size])).to_bytes(4, "little")
    found = decode(bytes(no_event))
    assert same(told(found), expected(events[:record]))
    assert found.problem == "a record holds no event"


def flipped(data: bytes, at: int, bit: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]


def test_a_bit_that_flipped_anywhere_costs_its_record_alone() -> None:
    events = [scalar(tag, step, 0.1 * step) for step in range(40) for tag in ("loss", "val/acc")]
    data = records(events)
    starts = [len(records(events[:number])) for number in range(len(events))]
    for record in (0, 1, 77):
        size = len(records(events[record : record + 1]))
        for at in range(starts[record] + 12, starts[record] + size):
            found = decode(flipped(data, at, bit=at % 8))
            assert same(told(found), expected(events[:record] + events[record + 1 :]))
            assert (found.damaged, found.problem, found.consumed) == ((starts[record],), None, len(data))
            assert set(found.tags) == {"loss", "val/acc"}


def test_damage_to_large_events_matters_where_they_hold_scalars() -> None:
    image = Summary.Image(height=1, width=1, colorspace=1, encoded_image_string=b"x" * 1000)
    picture = Event(wall_time=1.0, step=1, summary=Summary(value=[Summary.Value(tag="image", image=image)]))
    long = [scalar("x" * 600, step, 1.0) for step in range(3)]
    data = records([picture, *long, scalar("loss", 1, 1.0)])
    begin = len(records([picture]))
    assert decode(flipped(data, begin // 2)).damaged == ()
    found = decode(flipped(data, begin + 300))
    assert same(told(found), expected([*long[1:], scalar("loss", 1, 1.0)]))
    assert found.damaged == (begin,)
    assert decode(data[: begin + 12] + b"\xff" * 8 + data[begin + 20 :]).damaged == (begin,)


@given(data=st.binary(max_size=400))
def test_no_bytes_at_all_make_it_fail(data: bytes) -> None:
    found = decode(data)
    assert 0 <= found.consumed <= len(data)


def test_a_script_that_makes_up_tags_is_cut_off() -> None:
    found = decode(records(scalar(f"loss{i}", i, 1.0) for i in range(MOST_TAGS + 5)))
    assert (len(found.tags), len(found.points)) == (MOST_TAGS, MOST_TAGS)
    assert found.problem == f"it has more than {MOST_TAGS} tags"
