"""What experiments write is safe, and comes down byte for byte."""

from __future__ import annotations

import io
import json
import shutil
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest

from tests.support import processes
from tests.support.grid import Grid, eventually

#: Two nodes; each writes a checkpoint and TensorBoard events as Lightning would, then waits to be let go.
TRAINING = r"""
import os, time, torch, torch.distributed as dist
from torch.utils.tensorboard import SummaryWriter
dist.init_process_group("gloo")
rank, node = dist.get_rank(), int(os.environ["GROUP_RANK"])
if int(os.environ["LOCAL_RANK"]) == 0:
    folder = "lightning_logs/version_0"
    writer = SummaryWriter(folder)
    for step in range(100):
        writer.add_scalar("loss", 1 / (step + 1 + node), step)
    writer.close()
    os.makedirs(f"{folder}/checkpoints")
    torch.save({"weights": torch.arange(500_000) + node}, f"{folder}/checkpoints/epoch=0 step=1.ckpt")
    open("config.yaml", "w").write("lr: 0.1\n")
    open("train.py", "a").write("# changed")
    print("written", os.getcwd(), flush=True)
    while not os.path.exists("go"):
        time.sleep(0.05)
    torch.save({"weights": torch.zeros(300_000)}, f"{folder}/checkpoints/last.ckpt")
dist.barrier()
"""


def files_below(folder: Path) -> dict[str, bytes]:
    """What a script made: the server's own run.json is left out."""
    found = {str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()}
    return {path: file.read_bytes() for path, file in found.items() if path != "run.json"}


def listed(grid: Grid, name: str) -> list[dict[str, Any]]:
    return [row for row in grid.json("artifacts", "--list", name)["artifacts"] if row["path"] != "run.json"]


def ask(grid: Grid, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    token = (grid.home / "token").read_text()
    request = urllib.request.Request(grid.server["url"] + path, headers={"Authorization": f"Bearer {token}", **headers})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            return answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read()
    except HTTPError as error:
        return error.code, {k.lower(): v for k, v in error.headers.items()}, error.read()


def work(experiment: dict[str, Any]) -> Path:
    return Path(experiment["work_dir"])


def test_what_two_nodes_write_is_downloaded_while_they_run_and_after(grid: Grid, folder: Path) -> None:
    (folder / "train.py").write_text(TRAINING)
    name = grid.submit(*("--gpus", "2", "--instance_type", "1_t4_16gb", "--framework", "torch", "train.py"), cwd=folder)
    run = name.rpartition("-")[0]
    eventually(lambda: len(listed(grid, name)) == 6)

    out = grid.ok("artifacts", run, cwd=folder)
    assert out.startswith("7 files, ")
    written = files_below(work(grid.experiment(name)))
    down = folder / "grid_artifacts" / run / name
    got = files_below(down)
    assert set(got) == {
        *(path.removeprefix("node0/") for path in written if path.startswith("node0/") and "train.py" not in path),
        "node1/config.yaml",
        "node1/lightning_logs/version_0/checkpoints/epoch=0 step=1.ckpt",
        *(path for path in got if "tfevents" in path),
    }
    events = [path for path in got if "tfevents" in path]
    assert len(events) == 2
    for path, content in got.items():
        source = path if path in written else f"node0/{path}"
        assert written.get(source, written.get(f"node1/{path}")) == content, path

    for node in ("node0", "node1"):
        (work(grid.experiment(name)) / node / "go").touch()
    assert grid.ended(name)["state"] == "succeeded"
    out = grid.ok("artifacts", run, cwd=folder)
    assert "7 of them were there already" in out
    assert set(files_below(down)) - set(got) == {
        "go",
        "node1/go",
        "lightning_logs/version_0/checkpoints/last.ckpt",
        "node1/lightning_logs/version_0/checkpoints/last.ckpt",
    }

    # What was broken off or damaged comes again; one experiment lies without its run, and -m chooses.
    checkpoint = "lightning_logs/version_0/checkpoints/epoch=0 step=1.ckpt"
    (down / checkpoint).write_bytes(b"damaged")
    done = grid.json("artifacts", "-m", r"\.ckpt$", run, cwd=folder)
    assert [row["path"] for row in done["artifacts"] if row["fetched"]] == [checkpoint]
    assert (down / checkpoint).read_bytes() == got[checkpoint]
    grid.ok("artifacts", "--download-dir", "other", "--match_regex", "config", name, cwd=folder)
    assert files_below(folder / "other") == {
        f"{name}/config.yaml": b"lr: 0.1\n",
        f"{name}/node1/config.yaml": b"lr: 0.1\n",
    }

    # A download that was broken off goes on where it was.
    (row,) = [r for r in listed(grid, name) if r["path"] == checkpoint and r["node"] == 0]
    rest = folder / "rest"
    rest.mkdir()
    (rest / f".grid-partial-{row['sha256']}").write_bytes(got[checkpoint][:3_000_000])
    grid.ok("artifacts", "--download_dir", str(rest), "-m", "epoch", name, cwd=folder)
    assert (rest / name / checkpoint).read_bytes() == got[checkpoint]
    assert not list(rest.glob(".grid-partial*"))


def small_experiment(grid: Grid, folder: Path, script: str, *more: str, **environment: str) -> dict[str, Any]:
    (folder / "train.py").write_text(script)
    return grid.finish("--instance_type", "2_cpu_4gb", "--framework", "torch", *more, "train.py", cwd=folder)


NAMES = ("a b/ü 数", "line\nbreak", "-rf", "x" * 255, "'\"$HOME", "..x/.hidden", "page.html")


@pytest.fixture(scope="module")
def strange_names(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A failed experiment that wrote files of strange names, each with its name in it.

    Its folders go with the module: they are too deep for the paths of whoever looks through the shared home later.
    """
    experiment = small_experiment(
        grid,
        tmp_path_factory.mktemp("names"),
        f"import os\nfor name in {NAMES!r}:\n"
        "    os.makedirs(os.path.dirname(name) or '.', exist_ok=True)\n    open(name, 'w').write(name)\n"
        "for _ in range(25):\n    os.mkdir('d' * 200)\n    os.chdir('d' * 200)\n"
        "raise ValueError('bad')\n",
    )
    assert experiment["state"] == "failed", experiment
    (unsaved,) = [event["reason"] for event in experiment["events"] if event["kind"] == "artifacts"]
    assert "1 file was not saved: 'ddd" in unsaved
    assert "(File name too long)" in unsaved
    yield experiment["experiment"]
    shutil.rmtree(work(experiment))


def test_names_of_all_kinds_come_down_and_nothing_leaves_the_folder(
    grid: Grid, strange_names: str, folder: Path
) -> None:
    name = strange_names
    grid.ok("artifacts", name, cwd=folder)
    assert files_below(folder / "grid_artifacts" / name) == {n: n.encode() for n in NAMES}
    table = grid.ok("artifacts", "--list", name)
    assert "line\\nbreak" in table
    assert len(table.splitlines()) == 2 + len(NAMES)
    stored = {row["path"]: row["stored_at"] for row in listed(grid, name)}
    assert Path(stored["-rf"]).read_bytes() == b"-rf"
    assert stored["-rf"] in grid.ok("artifacts", "--bucket_path", name)

    # A link in the way is not followed out of the folder.
    outside = folder / "outside"
    outside.mkdir()
    trap = folder / "trap" / name
    trap.mkdir(parents=True)
    (trap / "a b").symlink_to(outside)
    (trap / "-rf").mkdir()
    done = grid.call("artifacts", "--download_dir", "trap", name, cwd=folder)
    assert done.code == 1
    assert "leads out of" in done.err
    assert "is a folder here" in done.err
    assert list(outside.iterdir()) == []
    assert (trap / "line\nbreak").exists()


def test_a_stopped_experiment_keeps_what_it_wrote_though_the_server_is_killed_in_the_middle(
    grid: Grid, folder: Path
) -> None:
    (folder / "train.py").write_text(
        "import os, time\nfor n in range(300): open(f'f{n}', 'w').write(str(n))\n"
        "open('big', 'wb').write(os.urandom(1 << 20) * 64)\nprint('up', flush=True)\ntime.sleep(600)\n"
    )
    stored = grid.home / "artifacts"
    before = set(processes.files_below(stored))
    name = grid.submit("--instance_type", "2_cpu_4gb", "--framework", "torch", "train.py", cwd=folder)
    # One is run.json; the first of the script's is staged, or in its place already.
    eventually(lambda: len(set(processes.files_below(stored)) - before) > 1)
    grid.kill_server()
    grid.ok("stop", "experiment", name)
    experiment = grid.ended(name)
    assert experiment["state"] == "stopped"
    assert not any("not saved" in event["reason"] for event in experiment["events"])
    assert len(listed(grid, name)) == 301, experiment

    download = grid.start("artifacts", name, cwd=folder)
    eventually(lambda: (folder / "grid_artifacts").exists() or download.poll() is not None)
    grid.kill_server()
    out, err = download.communicate(timeout=120)
    assert download.returncode == 0, (out, err)
    written = {path: content for path, content in files_below(work(experiment)).items() if path != "train.py"}
    assert len(written) == 301
    assert files_below(folder / "grid_artifacts" / name) == written


def test_downloads_over_http_are_harmless_to_a_browser_and_can_be_resumed(grid: Grid, strange_names: str) -> None:
    name = strange_names
    rows = {row["path"]: row for row in listed(grid, name)}
    base = f"/api/v1/experiments/{name}/artifacts"
    where = f"{base}/{rows['a b/ü 数']['id']}/content"
    status, headers, body = ask(grid, where)
    assert (status, body) == (200, "a b/ü 数".encode())
    assert headers["content-disposition"] == "attachment; filename*=UTF-8''%C3%BC%20%E6%95%B0"
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert ask(grid, where, Range="bytes=2-4")[0::2] == (206, b"b/\xc3")
    assert ask(grid, f"{where}?offset=7")[0::2] == (200, "数".encode())
    assert ask(grid, f"{where}?sha256={'0' * 64}")[0] == 404
    for wrong in ("0" * 64, "..%2f..%2f..%2fgrid.db", "%2e%2e"):
        assert ask(grid, f"{base}/{wrong}/content")[0] == 404
    status, _, body = ask(grid, f"{base}.zip")
    assert status == 200
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        assert archive.testzip() is None
        read = {n: archive.read(n) for n in archive.namelist()}
        assert json.loads(read.pop("run.json"))["experiment"] == name
        assert read == {n: n.encode() for n in NAMES}
    page = json.loads(ask(grid, f"{base}?limit=1&offset=1")[2])
    assert (len(page["artifacts"]), page["total"]) == (1, 1 + len(NAMES))


def test_what_is_asked_wrongly_is_said(grid: Grid, folder: Path) -> None:
    assert grid.call("artifacts", cwd=folder).code == 2
    done = grid.call("artifacts", "-m", "(", "x-exp0", cwd=folder)
    assert done.code == 2
    assert "no regular expression" in done.err
    done = grid.call("artifacts", "nobody-exp0", cwd=folder)
    assert done.code == 2
    assert "no experiment named" in done.err
    assert not (folder / "grid_artifacts").exists()
