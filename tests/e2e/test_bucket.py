"""A server whose contents rest in a bucket, by the real command line: data in, a training that reads it, files out."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.grid import Grid
from tests.support.s3 import Endpoint

SCRIPT = """
import pathlib, sys
data = pathlib.Path(sys.argv[1])
print("read", sorted(p.name for p in data.rglob("*") if p.is_file())[:3], len((data / "large").read_bytes()))
pathlib.Path("small.txt").write_text("small")
pathlib.Path("model.bin").write_bytes((data / "large").read_bytes())
"""


@pytest.mark.full
def test_data_and_artifacts_go_straight_between_bucket_and_machines(
    new_grid: Callable[[], Grid], folder: Path, bucket: str, endpoint: Endpoint
) -> None:
    grid = new_grid()
    grid.environment |= {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    grid.environment["GRID_STORAGE"] = f"s3://{bucket}/team"
    source = folder / "data"
    source.mkdir()
    for i in range(300):
        (source / f"f{i:03}").write_bytes(os.urandom(500))
    large = os.urandom(20 << 20)
    (source / "large").write_bytes(large)
    (folder / "train.py").write_text(SCRIPT)
    assert grid.json("datastore", "create", str(source), "--name", "cifar")["files"] == 301
    for _ in range(2):
        done = grid.json(
            "run", "--framework", "torch", "--instance_type", "2_cpu_4gb", "--datastore_name", "cifar",
            "--wait", "train.py", "/datastores/cifar", cwd=folder,
        )  # fmt: skip
        assert f"read ['f000', 'f001', 'f002'] {len(large)}" in grid.ok("logs", done["experiments"][0])
    out = folder / "out"
    grid.ok("artifacts", done["experiments"][0], "--download_dir", str(out))
    found = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert json.loads(found.pop("run.json"))["experiment"] == done["experiments"][0]
    assert found == {"small.txt": b"small", "model.bin": large}
    got = [path for method, path in endpoint.asked if method == "GET" and "/datastores/packs/" in path]
    assert 3 <= len(got) <= 4
