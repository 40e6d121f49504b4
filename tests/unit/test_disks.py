"""How full disks may become: what is missing is told in words, and of a small disk less stays free."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from opengrid.core.disks import DiskGuard
from opengrid.core.errors import Unusable

GIB = 1 << 30


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return what every disk says of itself."""
    usage = SimpleNamespace(total=100 * GIB, used=0, free=100 * GIB)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    return usage


def test_a_disk_with_space_lacks_nothing(disk: SimpleNamespace, tmp_path: Path) -> None:
    disk.free = 3 * GIB
    assert DiskGuard().lack(tmp_path) is None
    assert DiskGuard().room(tmp_path) == GIB
    DiskGuard().check(tmp_path, GIB)


def test_what_is_missing_is_told_in_words(disk: SimpleNamespace, tmp_path: Path) -> None:
    disk.free = int(1.5 * GIB)
    lack = DiskGuard().lack(tmp_path)
    assert lack == f"1.5 GiB are free on the disk of {tmp_path}, and 2.0 GiB stay free"
    assert DiskGuard().waits(tmp_path) == f"waits for disk space: {lack}"
    with pytest.raises(Unusable, match=r"no space left for anything new: 1\.5 GiB") as raised:
        DiskGuard().check(tmp_path)
    assert raised.value.hint is not None
    assert "grid datastore delete" in raised.value.hint


def test_what_does_not_fit_beside_that_is_refused(disk: SimpleNamespace, tmp_path: Path) -> None:
    disk.free = 10 * GIB
    with pytest.raises(Unusable, match=r"no space left for 9\.0 GiB"):
        DiskGuard().check(tmp_path, 9 * GIB)


def test_of_a_small_disk_a_tenth_stays_free(disk: SimpleNamespace, tmp_path: Path) -> None:
    disk.total, disk.free = 10 * GIB, int(1.1 * GIB)
    assert DiskGuard().lack(tmp_path) is None
    assert DiskGuard().least_of(tmp_path) == GIB
    disk.free = int(0.9 * GIB)
    assert DiskGuard().lack(tmp_path) is not None


def test_another_limit_counts(disk: SimpleNamespace, tmp_path: Path) -> None:
    disk.free = GIB
    assert DiskGuard(GIB // 2).lack(tmp_path) is None
    assert DiskGuard(0).room(tmp_path) == GIB


def test_a_folder_that_is_not_there_yet_lies_on_its_parents_disk(tmp_path: Path) -> None:
    assert DiskGuard(0).lack(tmp_path / "not" / "yet") is None


def test_the_same_words_stay_while_little_changes(disk: SimpleNamespace, tmp_path: Path) -> None:
    disk.free = int(1.51 * GIB)
    before = DiskGuard().lack(tmp_path)
    disk.free += 1 << 20
    assert DiskGuard().lack(tmp_path) == before
