"""planning.stacks: what faulthandler wrote, parsed and put together."""

from __future__ import annotations

import pytest

from opengrid.planning.stacks import Dump, Frame, group, headline, is_users, read_dump

PACKAGES = "/home/me/.venv/lib/python3.11/site-packages/"

#: As a rank on Python 3.11 wrote it, in all_reduce of a script in `sub` below its tree, with a second thread.
REDUCING = f"""Thread 0x00007f6cf49c66c0 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 982 in run
  File "/usr/lib/python3.11/threading.py", line 1045 in _bootstrap_inner
  File "/usr/lib/python3.11/threading.py", line 1002 in _bootstrap

Current thread 0x00007f6cf5626b80 (most recent call first):
  File "{PACKAGES}torch/distributed/distributed_c10d.py", line 3252 in all_reduce
  File "{PACKAGES}torch/distributed/c10d_logger.py", line 83 in wrapper
  File "/work/e0/1/node0/lib/steps.py", line 7 in reduce
  File "/work/e0/1/node0/sub/train.py", line 31 in main
  File "/work/e0/1/node0/sub/train.py", line 40 in <module>
  File "opengrid/node/main_module.py", line 72 in _run_script
  File "opengrid/node/main_module.py", line 50 in run
  File "opengrid/node/rank.py", line 247 in _run
  File "opengrid/node/preload/template.py", line 58 in template_main
  File "/home/me/.opengrid/zipapp/agent-ba3df49e2bb79316.pyz/__main__.py", line 3 in <module>
  File "<frozen runpy>", line 88 in _run_code
  File "<frozen runpy>", line 198 in _run_module_as_main
"""
MAIN = (
    Frame("train.py", 40, "<module>"),
    Frame("train.py", 31, "main"),
    Frame("../lib/steps.py", 7, "reduce"),
    Frame(f"{PACKAGES}torch/distributed/c10d_logger.py", 83, "wrapper"),
    Frame(f"{PACKAGES}torch/distributed/distributed_c10d.py", 3252, "all_reduce"),
)


def dump(text: str, folder: str = "/work/e0/1/node0", directory: str = "sub") -> Dump:
    found = read_dump(text, folder=folder, directory=directory)
    assert found is not None
    return found


def functions(frames: tuple[Frame, ...]) -> list[str]:
    return [frame.function for frame in frames]


def test_the_main_threads_stack_is_the_programs_part_with_the_users_files_relative() -> None:
    found = dump(REDUCING)
    assert found.main == MAIN
    assert [functions(frames) for frames in found.others] == [["_bootstrap", "_bootstrap_inner", "run"]]


def test_a_module_begins_after_runpy() -> None:
    text = """Current thread 0x00007f (most recent call first):
  File "/work/e0/1/node0/sub/pkg/mod.py", line 4 in deep
  File "/work/e0/1/node0/sub/pkg/mod.py", line 5 in <module>
  File "<frozen runpy>", line 88 in _run_code
  File "/usr/lib/python3.10/runpy.py", line 196 in _run_module_as_main
  File "/home/me/.opengrid/zipapp/agent-ba.pyz/opengrid/node/main_module.py", line 76 in _run_module
"""
    assert dump(text).main == (Frame("pkg/mod.py", 5, "<module>"), Frame("pkg/mod.py", 4, "deep"))


def test_a_program_that_has_not_begun_shows_where_its_rank_is() -> None:
    text = """Current thread 0x00007f (most recent call first):
  File "opengrid/node/rank.py", line 201 in _reseed
  File "opengrid/node/rank.py", line 152 in _forked
"""
    assert functions(dump(text).main) == ["_forked", "_reseed"]


def test_the_newest_of_several_dumps_counts() -> None:
    older = REDUCING.replace("line 31 in main", "line 30 in main")
    assert dump(older + REDUCING).main == MAIN
    # The end of a long one, as an agent cuts it.
    assert dump(older[200:] + REDUCING).main == MAIN
    assert dump(older[200:] + REDUCING).others == dump(REDUCING).others


def test_a_dump_that_stops_in_a_line_keeps_the_whole_ones() -> None:
    cut = REDUCING[: REDUCING.index(" in wrapper")]
    assert functions(dump(cut).main) == ["all_reduce"]


def test_the_oldest_thread_is_the_main_one_whichever_got_the_signal() -> None:
    text = REDUCING.replace("Current thread", "X").replace("Thread", "Current thread").replace("X", "Thread")
    assert dump(text).main == MAIN


def test_with_too_many_threads_for_the_main_one_the_current_one_stands_in() -> None:
    text = """Current thread 0x01 (most recent call first):
  File "/a.py", line 1 in got_the_signal

Thread 0x02 (most recent call first):
  File "/a.py", line 2 in other

...
"""
    assert functions(dump(text).main) == ["got_the_signal"]


def test_what_other_versions_of_python_write_is_understood() -> None:
    text = """Thread 0x00007f01 [QueueFeeder] (most recent call first):
  <no Python frame>

Current thread 0x00007f02 [python] (most recent call first):
  Garbage-collecting
  File "/a/j\\xfcrgen \\u2713.py", line 88 in __next__
  File ???, line ??? in w\\xe4rt
  ...

Current thread's C stack trace (most recent call first):
  Binary file "/usr/lib/libc.so.6", at sleep+0x1f [0x7f6cf5626b80]
  File "/not/a/python/frame.c", line 1 in libc
"""
    found = dump(text)
    assert found.main == (Frame("<unknown>", 0, "wärt"), Frame("/a/jürgen ✓.py", 88, "__next__"))
    assert found.others == ((),)
    without_gil = 'Stack (most recent call first):\n  File "/a.py", line 1 in main\n'
    assert functions(dump("<Cannot show all threads while the GIL is disabled>\n" + without_gil).main) == ["main"]


def test_a_folder_with_a_name_that_is_not_ascii_is_found_in_the_text() -> None:
    text = 'Current thread 0x01 (most recent call first):\n  File "/w\\xe4rme/a.py", line 1 in main\n'
    assert dump(text, folder="/wärme", directory=".").main[0].file == "a.py"


def test_half_a_surrogate_in_a_name_stays_as_it_was_written() -> None:
    text = 'Current thread 0x01 (most recent call first):\n  File "/a/\\udcff.py", line 1 in main\n'
    assert dump(text).main[0].file == "/a/\\udcff.py"


@pytest.mark.parametrize("text", ["", "\n", "no dump\n", "  File", "Current thread 0x01 (most recent call first):"])
def test_a_text_without_a_thread_is_no_dump(text: str) -> None:
    assert read_dump(text) is None


def test_equal_stacks_on_other_nodes_are_one_group_and_the_largest_comes_first() -> None:
    waiting = """Current thread 0x01 (most recent call first):
  File "/work/e0/1/node1/sub/data.py", line 88 in __next__
"""
    dumps = {
        0: dump(waiting, folder="/work/e0/1/node1"),
        1: dump(REDUCING),
        2: dump(REDUCING.replace("node0", "node1"), folder="/work/e0/1/node1"),
        3: dump(REDUCING[REDUCING.index("Current") :]),
    }
    groups = group(dumps)
    assert [(g.ranks, g.frames) for g in groups] == [((1, 2, 3), MAIN), ((0,), (Frame("data.py", 88, "__next__"),))]
    assert [(ranks, functions(frames)) for ranks, frames in groups[0].threads] == [
        ((1, 2), ["_bootstrap", "_bootstrap_inner", "run"])
    ]


@pytest.mark.parametrize(
    ("frames", "line"),
    [
        (
            MAIN,
            "all_reduce (torch/distributed/distributed_c10d.py:3252), called from ../lib/steps.py:7 in reduce",
        ),
        ((MAIN[0], Frame("/usr/lib/python3.11/queue.py", 5, "get")), "get (queue.py:5), called from train.py:40"),
        (MAIN[:2], "main (train.py:31)"),
        ((Frame("<string>", 1, "f"),), "f (<string>:1)"),
        ((), "no Python code"),
    ],
)
def test_a_headline_names_the_call_and_the_users_line_that_led_there(frames: tuple[Frame, ...], line: str) -> None:
    assert headline(frames) == line


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("train.py", True),
        ("../lib/data.py", True),
        ("/home/me/project/data.py", True),
        (f"{PACKAGES}torch/nn.py", False),
        (".venv/lib/python3.13t/site-packages/x.py", False),
        ("/usr/lib/python3/dist-packages/x.py", False),
        ("/usr/lib64/python3.12/threading.py", False),
        ("<frozen importlib._bootstrap>", False),
    ],
)
def test_a_file_is_the_users_unless_it_is_pythons_or_installed(file: str, expected: bool) -> None:
    assert is_users(file) is expected
