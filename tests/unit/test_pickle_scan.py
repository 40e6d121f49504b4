"""What stands in a pickle, and where the records of a sharded checkpoint lie, without executing anything."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import pytest

from opengrid.core.pickle_scan import extents_in, words_in


@dataclass
class Info:
    """What torch.distributed.checkpoint keeps of a record."""

    relative_path: str
    offset: int
    length: int


@dataclass
class Index:
    """What it finds a record by; one of its fields is called like one of the record's."""

    fqn: str
    offset: tuple[int, ...] | None


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_records_are_found_by_piece_though_names_stand_there_once(protocol: int) -> None:
    pieces = ["__0_0.distcp", "__1_0.distcp"]
    records = [
        (Index("weight", (0, 7)), Info(pieces[0], 0, 300)),
        (Index("bias", None), Info(pieces[0], 300, 70_000)),
        (Index("step", None), Info(pieces[1], 0, 1 << 40)),
    ]
    pickled = pickle.dumps({"storage_data": records}, protocol=protocol)
    assert extents_in(pickled) == {pieces[0]: [(0, 300), (300, 70_000)], pieces[1]: [(0, 1 << 40)]}
    assert {"weight", "step", *pieces} <= words_in(pickled)


def test_a_pickle_without_its_end_is_refused() -> None:
    with pytest.raises(ValueError, match=r"pickle exhausted|expected|not enough"):
        words_in(pickle.dumps({"a": "b" * 500})[:-300])


def test_words_that_only_look_like_a_record_are_none() -> None:
    assert extents_in(pickle.dumps(["relative_path", "a", "offset", "b", "length", 3])) == {}
    assert extents_in(pickle.dumps(["relative_path", "a", "offset"])) == {}
