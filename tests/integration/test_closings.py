"""What the kernel tells of files that were closed or renamed into place."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from opengrid.node.closings import Closings


@pytest.fixture
def closings(tmp_path: Path) -> Iterator[Closings]:
    (tmp_path / "below").mkdir()
    (tmp_path / "__pycache__").mkdir()
    watched = Closings()
    watched.watch(tmp_path)
    yield watched
    watched.close()


def test_a_file_is_told_when_its_writer_closes_it(closings: Closings, tmp_path: Path) -> None:
    with (tmp_path / "below" / "a b\n.pt").open("wb") as file:
        file.write(b"x")
        assert closings.drain() == set()
    assert closings.drain() == {f"{tmp_path}/below/a b\n.pt"}
    (tmp_path / "below" / "a b\n.pt").read_bytes()
    assert closings.drain() == set()


def test_a_file_that_is_renamed_into_place_is_told_by_its_new_name(closings: Closings, tmp_path: Path) -> None:
    outside = tmp_path / "__pycache__" / "x"
    outside.write_text("x")
    os.replace(outside, tmp_path / "x")
    assert closings.drain() == {f"{tmp_path}/x"}


def test_folders_that_are_made_later_count_too(closings: Closings, tmp_path: Path) -> None:
    (tmp_path / "new" / "deep").mkdir(parents=True)
    assert closings.drain() == set()
    (tmp_path / "new" / "deep" / "file").write_text("x")
    (tmp_path / "new" / "gone").mkdir()
    (tmp_path / "new" / "gone").rmdir()
    assert closings.drain() == {f"{tmp_path}/new/deep/file"}


def test_more_than_the_kernel_keeps_is_lost_without_harm(closings: Closings, tmp_path: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if most > 20_000:
        pytest.skip("this kernel keeps more than is quickly written")
    for number in range(most + 10):
        os.close(os.open(tmp_path / str(number % 20_000), os.O_WRONLY | os.O_CREAT))
    assert len(closings.drain()) >= most // 2
    (tmp_path / "after").write_text("x")
    assert closings.drain() == {f"{tmp_path}/after"}


def test_a_folder_that_is_not_there_is_not_watched(tmp_path: Path) -> None:
    watched = Closings()
    watched.watch(tmp_path / "nowhere")
    assert watched.drain() == set()
    watched.close()
    assert watched.drain() == set()
