"""From the death of a rank, or of a machine, to all ranks training again."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from datetime import datetime
from pathlib import Path

from benchmarks.sides import Bench, wait_until
from benchmarks.support import median, print_rows, row

_REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
_RANKS = 8

#: torch 2.13 reuses the dead attempt's store otherwise, and does not recover.
_TORCHRUN = {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}


def recovery(bench: Bench) -> None:
    """Print the table, and the stages of the last recovery from the death of a rank."""
    theirs = _torchrun(bench)
    out = bench.out()
    experiment = bench.run(
        out, "train.py", "--framework", "lightning", "--instance_type", "4_v100_16gb", "--gpus", "8",
        "--max_restarts", "99",
    )  # fmt: skip
    _firsts(out, 0)
    ranks, machines, stages = [], [], ""
    for _ in range(_REPEATS):
        time.sleep(3)  # some training in between, and a checkpoint
        killed = _kill_rank(out)
        ranks.append(_firsts(out, killed) - killed)
        stages = _stages(bench, experiment, killed)
        print(f"rank: {ranks[-1]:.2f} s: {stages}", file=sys.stderr, flush=True)
    for _ in range(_REPEATS):
        time.sleep(3)
        killed = time.time()
        os.kill(_agent(bench, machine=1), signal.SIGKILL)
        machines.append(_firsts(out, killed) - killed)
        print(f"machine: {machines[-1]:.2f} s: {_stages(bench, experiment, killed)}", file=sys.stderr, flush=True)
    (out / "stop").touch()
    bench.grid("stop", experiment)
    bench.end(out, experiment)
    print_rows(
        [
            ("killed → all 8 ranks train again", "grid s", "torchrun s", "ratio", "target", ""),
            row("a rank, 2×4, lightning", median(ranks), median(theirs), 0.15),
        ]
    )
    machine = median(machines)
    print_rows(
        [
            ("killed → all 8 ranks train again", "s", "target", ""),
            ("the agent of a machine, 2×4, lightning", f"{machine:.2f}", "≤ 2", "ok" if machine <= 2 else "missed"),
        ]
    )
    print(f"\nthe last death of a rank by stage: {stages}\n")


def _torchrun(bench: Bench) -> list[float]:
    out = bench.out()
    bench.torchrun(out, "train.py", 2, 4, options=("--max-restarts", "99"), environment=_TORCHRUN)
    _firsts(out, 0)
    seconds: list[float] = []
    for _ in range(_REPEATS):
        time.sleep(3)
        killed = _kill_rank(out)
        seconds.append(_firsts(out, killed) - killed)
        print(f"torchrun: {seconds[-1]:.2f} s", file=sys.stderr, flush=True)
    bench.end(out)
    return seconds


def _kill_rank(out: Path) -> float:
    """SIGKILL the newest process of rank 5; return when."""
    newest = max(out.glob("first.5.*"), key=lambda file: file.stat().st_mtime)
    killed = time.time()
    os.kill(int(newest.suffix[1:]), signal.SIGKILL)
    return killed


def _firsts(out: Path, since: float) -> float:
    """Wait until every rank has begun its first batch after a time; return when the last one did."""
    begun: dict[str, float] = {}

    def look() -> bool:
        for file in out.glob("first.*"):
            text = file.read_text()
            if text and float(text) > since:
                begun[file.name.split(".")[1]] = float(text)
        return len(begun) == _RANKS

    wait_until(look)
    return max(begun.values())


def _agent(bench: Bench, machine: int) -> int:
    (lock,) = (bench.home / "agents").glob(f"*-{machine}.lock")
    return json.loads(lock.read_text())["pid"]


def _stages(bench: Bench, experiment: str, killed: float) -> str:
    """Return the platform's own part by stage, in milliseconds since the kill."""
    events = json.loads(bench.grid("status", "-o", "json", experiment))["events"]
    names = {
        ("running", "stopping"): "noticed",
        ("stopping", "ended"): "ended",
        ("preparing", "restoring"): "prepared",
        ("restoring", "running"): "restored",
    }
    parts: list[str] = []
    for event in events:
        at = datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp()
        name = names.get((event["from"], event["to"]))
        if event["kind"] == "launch" and "ranks started" in event["reason"]:
            name = "ranks forked"
        if name is not None and at > killed:
            parts.append(f"{name} {1000 * (at - killed):.0f} ms")
    return ", ".join(parts)
