"""Datastores in a bucket: create against `aws s3 sync` and `rclone`, into the same endpoint; and a warm mount.

`python -m benchmarks.objects`. The endpoint is moto in a process of its own, so its speed is part of every side: what a
bare loop of PUTs reaches is shown too. BENCH_AWS names an aws (else it is installed from PyPI into a folder of the
benchmark's), BENCH_RCLONE an rclone (Debian's package).
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.datastores import _fill, _grid, _mounted, _timed
from benchmarks.support import median, print_rows, row, server_process
from opengrid.blobs.bucket import Bucket
from opengrid.core.disks import DiskGuard
from opengrid.core.mounts import Mount
from opengrid.core.packs import PIECE
from opengrid.core.protocol import DataFile
from opengrid.node.cache import DataCache

_REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
_KINDS = {"10,000 × 4 KiB": (10_000, 4 << 10, 0.5), "4 × 256 MiB": (4, 256 << 20, 1.0)}


def main() -> None:
    """Print both tables."""
    rows: list[tuple[str, ...]] = [("create into a bucket", "grid s", "other s", "ratio", "target", "")]
    told: list[str] = []
    with tempfile.TemporaryDirectory(prefix="og-bench-") as folder:
        root = Path(folder)
        home = root / "home"
        home.mkdir(mode=0o700)
        aws = os.environ.get("BENCH_AWS") or _install_aws(root / "aws")
        port = _free_port()
        with _moto(port) as moto:
            environment = _environment(port)
            os.environ.update(environment)
            _ask(port, "PUT", "/bench")
            with server_process(home, GRID_STORAGE="s3://bench/grid", **environment):
                for kind, (files, size, target) in _KINDS.items():
                    ours, again, theirs = _create(root, home, aws, files, size)
                    best = min(theirs, key=lambda name: theirs[name])
                    rows.append(row(f"{kind}, {best}", ours, theirs[best], target))
                    rows.append(row(f"{kind}, 1 % changed, the first create", again, ours, 0.1))
                    rows.append(row(f"{kind}, 1 % changed, {best} of all", again, theirs[best], 0.1))
                    told.append(f"{kind}: " + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in theirs.items()))
            told.append(f"1 GiB in a bare loop of PUTs of {PIECE >> 20} MiB from memory: {_bare(1 << 30):.2f} s")
            moto.poll()
        looks, mounts = _mount(root)
    print_rows(rows)
    print("\n" + "\n".join(told) + "\n")
    total = looks + mounts
    print_rows(
        [
            ("a version of 10,000 files, made ready for a rank", "ms", "target", ""),
            (
                "looked at in a warm cache + mounted in the rank",
                f"{1000 * total:.0f} ({1000 * looks:.0f} + {1000 * mounts:.0f})",
                "≤ 200",
                "ok" if total <= 0.2 else "MISSED",
            ),
        ]
    )


def _create(root: Path, home: Path, aws: str, files: int, size: int) -> tuple[float, float, dict[str, float]]:
    first, again = [], []
    theirs: dict[str, list[float]] = {"aws s3 sync": [], "rclone": []}
    rclone = os.environ.get("BENCH_RCLONE") or shutil.which("rclone")
    for number in range(_REPEATS):
        source = root / f"source-{files}-{number}"
        _fill(source, files, size)
        name = f"d{files}-{number}"
        first.append(_timed(_grid(home, "datastore", "create", str(source), "--name", name)))
        target = f"bench/theirs-{files}-{number}"
        theirs["aws s3 sync"].append(_timed([aws, "s3", "sync", "--only-show-errors", str(source), f"s3://{target}-a"]))
        if rclone is not None:
            theirs["rclone"].append(_timed([*_FOR_RCLONE, rclone, "copy", str(source), f":s3:{target}-r", *_RCLONE]))
        paths = sorted(source.rglob("f*"))
        for path in paths[: max(1, files // 100)]:
            with path.open("r+b") as file:
                file.write(os.urandom(64))
        time.sleep(2.1)  # the clock's tick must be over before files count as unchanged
        again.append(_timed(_grid(home, "datastore", "create", str(source), "--name", name)))
        shutil.rmtree(source)
        for prefix in ("a", "r"):  # moto keeps all in memory, or on the disk
            Bucket(f"s3://{target}-{prefix}").delete([one.key for one in Bucket(f"s3://{target}-{prefix}").objects()])
        _timed(_grid(home, "datastore", "delete", name, "--yes"))
    return median(first), median(again), {name: median(seconds) for name, seconds in theirs.items() if seconds}


#: What a system may set for other programs, and rclone cannot take.
_FOR_RCLONE = ("env", "-u", "AWS_CA_BUNDLE")

#: Reads who asks from the environment; transfers as its users get them by default.
_RCLONE = ("--s3-provider", "Other", "--s3-env-auth", "--config", "/dev/null")


def _bare(size: int) -> float:
    """Return how long a loop of PUTs takes, with bodies from memory."""
    body = os.urandom(PIECE)
    urls = Bucket("s3://bench/bare").links("PUT", [str(i) for i in range(size // PIECE)], 900)
    connection = http.client.HTTPConnection(urlsplit(urls[0]).netloc, timeout=600)
    began = time.perf_counter()
    for url in urls:
        connection.request("PUT", f"{urlsplit(url).path}?{urlsplit(url).query}", body)
        connection.getresponse().read()
    return time.perf_counter() - began


def _mount(root: Path) -> tuple[float, float]:
    """Return how long it takes to look at a version in a machine's cache, and to mount it in a process of its own."""
    cache = DataCache(root / "cache", 1 << 40, disks=DiskGuard(0))
    files = [DataFile(path=f"d{i % 100}/f{i}", size=16, sha256=f"{i % 256:02x}{i:062x}") for i in range(10_000)]
    tree = root / "tree"
    (root / "scratch").mkdir()

    def bring(_: bool) -> list[DataFile]:
        for file in files:
            cache.partial(file.sha256).write_bytes(b"x" * 16)
            cache.keep(file.sha256)
        return files

    cache.take("bench", tree, bring)
    mount = Mount(name="bench", version=1, path="/datastores/bench", source=str(tree), is_bound=True)
    looks, mounts = [], []
    for _ in range(2 * _REPEATS + 1):
        began = time.perf_counter()
        cache.take("bench", tree, _never)
        looks.append(time.perf_counter() - began)
        mounts.append(_mounted(mount, str(root / "scratch")))
    return median(looks), median(mounts)


def _never(_: bool) -> list[DataFile]:
    raise RuntimeError("the tree has changed")


def _moto(port: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = _Process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while True:
        try:
            _ask(port, "GET", "/")
            return process
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


class _Process(subprocess.Popen[bytes]):
    """A process that ends with its block."""

    def __exit__(self, *error: object) -> None:
        self.terminate()
        self.wait()


def _ask(port: int, method: str, path: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path)
    connection.getresponse().read()
    connection.close()


def _environment(port: int) -> dict[str, str]:
    url = f"http://127.0.0.1:{port}"
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "RCLONE_S3_ENDPOINT": url,
        "RCLONE_S3_REGION": "us-east-1",
    }


def _install_aws(folder: Path) -> str:
    venv.create(folder, with_pip=True)
    subprocess.run([folder / "bin" / "pip", "install", "-q", "awscli"], check=True)
    return str(folder / "bin" / "aws")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


if __name__ == "__main__":
    main()
