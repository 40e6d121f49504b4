"""Which files are collected, and when: a stepped clock, no disk."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from opengrid.node.scan import names, scan
from opengrid.node.settling import Settling, Version
from opengrid.testing import FakeClock

ONE, TWO = Version(1, 1, 1), Version(2, 2, 1)


@pytest.fixture
def settling() -> Settling:
    return Settling(frozenset({"train.py"}))


def test_a_new_file_is_due_when_it_has_not_changed_for_two_seconds(settling: Settling) -> None:
    clock = FakeClock()
    assert settling.due({"x": ONE}, clock()) == []
    clock.step(1.9)
    assert settling.due({"x": ONE}, clock()) == []
    clock.step(0.1)
    assert settling.due({"x": ONE}, clock()) == ["x"]


def test_a_new_file_that_its_writer_has_closed_is_due_at_once(settling: Settling) -> None:
    assert settling.due({"x": ONE, "y": ONE}, 0, closed={"x", "train.py"}) == ["x"]
    settling.save("x", ONE)
    assert settling.due({"x": TWO, "y": ONE}, 1, closed={"x"}) == []  # written again: it must be still for a while
    assert settling.due({"x": TWO, "y": ONE}, 3) == ["x", "y"]


def test_what_could_not_be_saved_waits_though_it_is_closed(settling: Settling) -> None:
    assert settling.due({"x": ONE}, 0, closed={"x"}) == ["x"]
    settling.fail("x", "no space left", 0)
    assert settling.due({"x": ONE}, 1, closed={"x"}) == []
    assert settling.due({"x": TWO}, 2, closed={"x"}) == ["x"]


def test_every_change_starts_the_wait_anew(settling: Settling) -> None:
    clock = FakeClock()
    settling.due({"x": ONE}, clock())
    clock.step(1.9)
    settling.due({"x": TWO}, clock())
    clock.step(1.9)
    assert settling.due({"x": TWO}, clock()) == []
    clock.step(0.1)
    assert settling.due({"x": TWO}, clock()) == ["x"]


@pytest.mark.parametrize("changed", [Version(2, 1, 1), Version(1, 2, 1), Version(1, 1, 2)])
def test_what_is_saved_is_due_again_when_its_size_time_or_inode_changes(settling: Settling, changed: Version) -> None:
    settling.due({"x": ONE}, 0)
    settling.save("x", ONE)
    assert settling.due({"x": ONE}, 99) == []
    assert settling.due({"x": ONE}, 99, final=True) == []
    assert settling.due({"x": changed}, 100) == []
    assert settling.due({"x": changed}, 102) == ["x"]


def test_in_the_end_everything_new_is_due_at_once(settling: Settling) -> None:
    assert settling.due({"b": ONE, "a": TWO, "train.py": TWO}, 0, final=True) == ["a", "b"]


def test_what_was_there_before_is_never_due_even_when_changed(settling: Settling) -> None:
    assert settling.due({"train.py": ONE}, 0) == []
    assert settling.due({"train.py": TWO}, 9) == []
    assert settling.due({"train.py": TWO}, 99, final=True) == []


def test_what_could_not_be_saved_is_tried_again_less_and_less_often(settling: Settling) -> None:
    settling.due({"x": ONE}, 0)
    tries: list[int] = []
    for second in range(2, 100):
        if settling.due({"x": ONE}, second):
            tries.append(second)
            settling.fail("x", "disk full", second)
    assert tries == [2, 7, 17, 37, 77]
    assert settling.troubles == {"x": "disk full"}
    assert settling.due({"x": ONE}, 101, final=True) == ["x"]
    settling.save("x", ONE)
    assert settling.troubles == {}


def test_a_file_in_trouble_that_changes_is_not_kept_waiting(settling: Settling) -> None:
    settling.due({"x": ONE}, 0)
    for second in (2, 7, 17):
        settling.fail("x", "it kept changing", second)
    settling.due({"x": TWO}, 18)
    assert settling.due({"x": TWO}, 20) == ["x"]


def test_a_file_that_is_gone_while_ranks_run_is_nobodys_loss_and_one_that_vanishes_after_them_is_named() -> None:
    settling = Settling(frozenset())
    settling.due({"tmp": ONE, "x": ONE}, 0)
    settling.fail("tmp", "it kept changing", 1)
    assert settling.due({"x": ONE}, 2, final=True) == ["x"]
    settling.fail("x", "it vanished", 2)
    assert settling.due({}, 3, final=True) == []
    assert settling.troubles == {"x": "it vanished"}


def test_a_scan_finds_files_and_links_that_stay_inside_and_nothing_else(tmp_path: Path) -> None:
    root, outside = tmp_path / "work", tmp_path / "secret"
    outside.write_text("secret")
    (root / "a/b").mkdir(parents=True)
    skipped = ("__pycache__/x.pyc", ".git/config", "a/__pycache__/y.pyc")
    for name in ("a/b/new", "train.py", "-rf", "line\nbreak", *skipped):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("x")
    os.mkfifo(root / "pipe")
    (root / "last").symlink_to("a/b/new")
    (root / "copy.py").symlink_to("train.py")
    (root / "loop").symlink_to("loop")
    (root / "up").symlink_to(root)
    (root / "out").symlink_to(outside)
    (root / "dangling").symlink_to("nowhere")
    (root / "config").symlink_to(".git/config")
    found = scan(root, frozenset({"train.py"}))
    assert sorted(found.files) == ["-rf", "a/b/new", "last", "line\nbreak", "train.py"]
    assert found.files["last"] == found.files["a/b/new"]
    assert found.unreadable == {}
    assert {"train.py", "a/b/new", "pipe", "out"} <= names(root)


def test_what_is_too_deep_to_be_read_is_told(tmp_path: Path) -> None:
    here = os.open(".", os.O_RDONLY)
    try:
        os.chdir(tmp_path)
        for _ in range(25):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
    finally:
        os.fchdir(here)
        os.close(here)
    assert list(scan(tmp_path).unreadable.values()) == ["File name too long"]
