"""Logs are kept losslessly and apart, merged by whole lines, and followed live."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path

import pytest

from tests.support.grid import Grid, eventually

AWKWARD = rb"""
import os, sys
rank = os.environ["RANK"]
out = sys.stdout.buffer
out.write(b"rank %s: \xff\xfe not utf-8\n" % rank.encode())
out.write(b" 10%\r 50%\r100%\n")
out.write(b"no end of line")
out.flush()
sys.stderr.write("to stderr\n")
"""
WRITTEN = b"rank %d: \xff\xfe not utf-8\n 10%%\r 50%%\r100%%\nno end of line"


@pytest.fixture(scope="module")
def awkward(grid: Grid, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An experiment of two ranks that wrote what loggers usually break."""
    folder = tmp_path_factory.mktemp("awkward")
    (folder / "awkward.py").write_bytes(AWKWARD)
    experiment = grid.finish("--instance_type", "2_cpu_4gb", "--processes_per_node", "2", "awkward.py", cwd=folder)
    assert experiment["state"] == "succeeded", experiment
    return experiment["experiment"]


def test_one_rank_comes_byte_for_byte_as_it_was_written(grid: Grid, awkward: str) -> None:
    log = grid.log(awkward, "--rank", "1")
    assert WRITTEN % 1 in log
    assert b"to stderr\n" in log
    assert len(log) == len(WRITTEN % 1) + len(b"to stderr\n")


def test_merged_lines_carry_their_rank_and_stay_whole(grid: Grid, awkward: str) -> None:
    log = grid.log(awkward)
    for rank in (0, 1):
        head = b"[rank %d] " % rank
        assert head + b"rank %d: \xff\xfe not utf-8\n" % rank in log
        assert head + b" 10%\r" + head + b" 50%\r" + head + b"100%\n" in log
        assert head + b"no end of line\n" in log


def test_times_tail_and_json(grid: Grid, awkward: str) -> None:
    timed = grid.ok("logs", "-t", "--rank", "0", awkward)
    assert timed.splitlines()[0].startswith("20")
    assert grid.ok("logs", "-l", "1", "--rank", "0", awkward).count("\n") <= 1
    document = json.loads(grid.ok("logs", "-o", "json", awkward))
    assert {(line["rank"], line["stream"]) for line in document["lines"]} == {
        (r, s) for r in (0, 1) for s in ("stdout", "stderr")
    }


def test_a_runs_name_means_its_first_experiment_and_an_unknown_rank_is_refused(grid: Grid, awkward: str) -> None:
    done = grid.call("logs", awkward.removesuffix("-exp0"))
    assert done.code == 0
    assert awkward in done.err
    refused = grid.call("logs", "--rank", "7", awkward)
    assert refused.code == 2
    assert "0 to 1" in refused.err


def test_following_shows_lines_as_they_come_and_ends_with_the_experiment(grid: Grid, folder: Path) -> None:
    (folder / "slow.py").write_text(
        "import os, time\nprint('first', flush=True)\nwhile not os.path.exists('go'): time.sleep(0.05)\nprint('last')"
    )
    name = grid.submit("--instance_type", "2_cpu_4gb", "slow.py", cwd=folder)
    follow = grid.start("logs", "-f", name)
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"[rank 0] first\n"
    Path(grid.experiment(name)["work_dir"], "go").touch() if (
        Path(grid.experiment(name)["work_dir"]) / "slow.py"
    ).exists() else next(Path(grid.experiment(name)["work_dir"]).rglob("slow.py")).with_name("go").touch()
    out, _ = follow.communicate(timeout=60)
    assert out == b"[rank 0] last\n"
    assert follow.returncode == 0


def test_ctrl_c_while_following_only_stops_following_and_says_so(grid: Grid, folder: Path) -> None:
    (folder / "wait.py").write_text("import time\nprint('here', flush=True)\ntime.sleep(600)")
    name = grid.submit("--instance_type", "2_cpu_4gb", "wait.py", cwd=folder)
    follow = grid.start("logs", "-f", name)
    assert follow.stdout is not None
    assert b"here" in follow.stdout.readline()
    follow.send_signal(signal.SIGINT)
    _, err = follow.communicate(timeout=30)
    assert b"goes on" in err or b"still" in err, err
    assert grid.running(name)["state"] == "running"
    grid.ok("stop", "experiment", name)
    assert grid.ended(name)["state"] == "stopped"


NOISY = """
import os, sys, time
rank, rate, seconds = int(os.environ["RANK"]), 10_000_000, 5
block = (b"%d:" % rank + b"x" * 97 + b"\\n") * 1000
out, start, written = sys.stdout.buffer, time.monotonic(), 0
while written < rate * seconds:
    out.write(block)
    out.flush()
    written += len(block)
    ahead = written / rate - (time.monotonic() - start)
    if ahead > 0:
        time.sleep(ahead)
print(f"{time.monotonic() - start:.3f}", file=sys.stderr)
"""


@pytest.mark.full
def test_eight_ranks_writing_ten_megabytes_a_second_lose_nothing(grid: Grid, folder: Path) -> None:
    (folder / "noisy.py").write_text(NOISY)
    name = grid.submit("--instance_type", "2_cpu_4gb", "--processes_per_node", "8", "noisy.py", cwd=folder)
    server, peak = int(grid.server["pid"]), {"server": 0, "agent": 0}

    def resident(pid: int) -> int:
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            return 0
        return int(status.split("VmRSS:")[1].split()[0]) // 1024

    def look() -> bool:
        peak["server"] = max(peak["server"], resident(server))
        for lock in (grid.home / "agents").glob("*.lock"):
            if text := lock.read_text():
                peak["agent"] = max(peak["agent"], resident(json.loads(text)["pid"]))
        return grid.experiment(name)["state"] in ("succeeded", "failed")

    eventually(look)
    assert grid.experiment(name)["state"] == "succeeded"
    for rank in range(8):
        log = grid.log(name, "--rank", str(rank))
        lines = [line for line in log.splitlines() if line.startswith(b"%d:" % rank)]
        assert len(lines) * 100 >= 50_000_000
        assert set(lines) == {b"%d:" % rank + b"x" * 97}
    assert peak["server"] < 200, peak
    assert peak["agent"] < 200, peak
    print(peak, time.strftime("%X"))
