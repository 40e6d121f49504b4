"""Datastores on the folder store: create against `cp -r` with `sha256sum`, create again after a change, and the mount.

`python -m benchmarks.datastores`. The commands are typed as users type them, server up, sources in the page cache;
both sides alternate. Small files are removed at the end: for half a minute after many were, ext4 needs several times as
long for each new one, whoever makes it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.support import median, print_rows, row, server_process
from opengrid.blobs.folder import FolderBlobs
from opengrid.core.mounts import Mount
from opengrid.node.mounting import enter
from opengrid.services.trees import Trees
from opengrid.store.database import Database

_REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
_KINDS = {"10,000 × 4 KiB": (10_000, 4 << 10), "4 × 256 MiB": (4, 256 << 20)}


def main() -> None:
    """Print both tables."""
    rows: list[tuple[str, ...]] = [("create from a folder", "grid s", "other s", "ratio", "target", "")]
    with tempfile.TemporaryDirectory(prefix="og-bench-") as folder:
        root = Path(folder)
        home = root / "home"
        home.mkdir(mode=0o700)
        with server_process(home):
            for kind, (files, size) in _KINDS.items():
                first, again, theirs = _create(root, home, files, size)
                rows.append(row(f"{kind}, cp -r + sha256sum", first, theirs, 1.5))
                rows.append(row(f"{kind}, 1 % changed, the first create", again, first, 0.1))
                rows.append(row(f"{kind}, 1 % changed, cp -r + sha256sum", again, theirs, 1.0))
            starts = [_timed(_grid(home, "datastore", "list")) for _ in range(2 * _REPEATS + 1)]
            looks, mounts = _mount(home, root)
    print_rows(rows)
    print(f"\n`grid datastore list`, which asks the server once: {median(starts):.2f} s\n")
    total = looks + mounts
    verdict = "ok" if total <= 0.2 else "MISSED"
    told = f"{1000 * total:.0f} ({1000 * looks:.0f} + {1000 * mounts:.0f})"
    print_rows(
        [
            ("a version of 10,000 files, made ready for a rank", "ms", "target", ""),
            ("looked at on the server + mounted in the rank", told, "≤ 200", verdict),
        ]
    )


def _create(root: Path, home: Path, files: int, size: int) -> tuple[float, float, float]:
    first, again, theirs = [], [], []
    for number in range(_REPEATS):
        source = root / f"source-{files}-{number}"
        _fill(source, files, size)
        name = f"d{files}-{number}"
        first.append(_timed(_grid(home, "datastore", "create", str(source), "--name", name)))
        copy = root / f"copy-{files}-{number}"
        theirs.append(
            _timed(["sh", "-c", f"cp -r {source} {copy} && find {copy} -type f -print0 | xargs -0 sha256sum"])
        )
        is_large = size > 1 << 20
        if is_large:  # the disk is not ours alone
            shutil.rmtree(copy)
        paths = sorted(source.rglob("f*"))
        for path in paths[: max(1, files // 100)]:
            with path.open("r+b") as file:
                file.write(os.urandom(64))
        time.sleep(2.1)  # the clock's tick must be over before files count as unchanged
        again.append(_timed(_grid(home, "datastore", "create", str(source), "--name", name)))
        if is_large:
            shutil.rmtree(source)
            _timed(_grid(home, "datastore", "delete", name, "--yes"))
    return median(first), median(again), median(theirs)


def _fill(source: Path, files: int, size: int) -> None:
    for number in range(files):
        path = source / f"d{number % 100}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for _ in range(max(1, size >> 20)):
                file.write(os.urandom(min(size, 1 << 20)))
    time.sleep(2.1)


def _mount(home: Path, root: Path) -> tuple[float, float]:
    """Return how long it takes to look at a version, and to mount it in a process of its own."""
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    with database.read() as tx:
        found = tx.data.find("d10000-0", None)
    database.close()
    folder = home / "datastores"
    trees = Trees(folder, FolderBlobs(folder / ".contents"), has_mounts=lambda: True)
    source = str(trees.path(found.name, found.version))
    mount = Mount(name=found.name, version=found.version, path="/datastores/bench", source=source, is_bound=True)
    (root / "scratch").mkdir()
    looks, mounts = [], []
    for _ in range(2 * _REPEATS + 1):
        began = time.perf_counter()
        if not trees.is_untouched(found):
            raise RuntimeError("the version has changed")
        looks.append(time.perf_counter() - began)
        mounts.append(_mounted(mount, str(root / "scratch")))
    return median(looks), median(mounts)


def _mounted(mount: Mount, scratch: str) -> float:
    reader, writer = os.pipe()
    if os.fork() == 0:
        began = time.perf_counter()
        enter([mount], scratch)
        os.listdir(mount.path)
        os.write(writer, str(time.perf_counter() - began).encode())
        os._exit(0)
    os.close(writer)
    with open(reader) as answer:
        seconds = float(answer.read())
    os.wait()
    return seconds


def _grid(home: Path, *words: str) -> list[str]:
    return ["env", f"GRID_HOME={home}", sys.executable, "-m", "opengrid.cli", *words]


def _timed(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
