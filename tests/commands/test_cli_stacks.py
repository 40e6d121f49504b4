"""`grid stacks`: who stands where, as people read it."""

from __future__ import annotations

from typing import Any

from tests.support.fake_api import FakeApi
from tests.support.typed import Typist

NAME = "calm-fox-7-exp0"


def document(**changes: Any) -> dict[str, Any]:
    frames = [{"file": "train.py", "line": 31, "function": "main"}]
    other = [{"file": "/usr/lib/python3.11/threading.py", "line": 982, "function": "run"}]
    return {
        "experiment": NAME,
        "groups": [
            {
                "ranks": [0, 1, 2, 4],
                "top": "main (train.py:31)",
                "frames": frames,
                "threads": [{"ranks": [1], "frames": other}],
            },
            {"ranks": [3], "top": "no Python frame", "frames": [], "threads": []},
        ],
        "silent": [{"rank": 6, "reason": "b"}, {"rank": 5, "reason": "a"}, {"rank": 7, "reason": "b"}],
        **changes,
    }


SHOWN = """\
4 ranks (0-2, 4) in main (train.py:31)
rank 3 in no Python frame
rank 5 without a stack: a
2 ranks (6-7) without a stack: b

ranks 0-2, 4 (most recent call last):
  File "train.py", line 31, in main

rank 3 (most recent call last):
  no Python frame
"""


def test_groups_come_with_one_stack_each_and_silent_ranks_with_their_reasons(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}/stacks", document())
    done = grid("stacks", NAME)
    assert (done.code, done.out) == (0, SHOWN)
    assert grid("-o", "json", "stacks", NAME).json == document()


def test_the_other_threads_are_shown_when_asked_for(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}/stacks", document())
    shown = grid("stacks", NAME, "--all-threads").out
    thread = (
        '  another thread of rank 1 (most recent call last):\n    File "/usr/lib/python3.11/threading.py", line 982'
    )
    assert thread in shown


def test_no_stack_at_all_is_no_success(api: FakeApi, grid: Typist) -> None:
    api.on("GET", f"/api/v1/experiments/{NAME}/stacks", document(groups=[]))
    assert grid("stacks", NAME).code == 1
