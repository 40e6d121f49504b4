"""From the command to all ranks having met: grid with a warm and a cold template, against torchrun."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import datetime

from benchmarks.sides import Bench, all_ready, grid_processes, pss_mb, tree
from benchmarks.support import median, print_rows, row

_REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))


def launch(bench: Bench) -> None:
    """Print the table of starts, and the stages of the last warm one."""
    rows = [("start → all ranks met", "grid s", "torchrun s", "ratio", "target", "")]
    stages = ""
    for label, script, nodes, ranks, target in (
        ("1×8 warm", "ready.py", 1, 8, 0.3),
        ("2×4 warm", "ready.py", 2, 4, 0.3),
        ("1×8 warm, lightning", "ready_lightning.py", 1, 8, 0.2),
        ("2×4 warm, lightning", "ready_lightning.py", 2, 4, 0.2),
    ):
        _grid(bench, script, nodes, ranks)  # makes the template
        ours, theirs = [], []
        for _ in range(_REPEATS):
            seconds, stages = _grid(bench, script, nodes, ranks)
            ours.append(seconds)
            theirs.append(_torchrun(bench, script, nodes, ranks))
        rows.append(_told(row(label, median(ours), median(theirs), target)))
    for label, nodes, ranks in (("1×8 cold", 1, 8), ("2×4 cold", 2, 4)):
        ours, theirs = [], []
        for _ in range(_REPEATS):
            bench.new_home()
            ours.append(_grid(bench, "ready.py", nodes, ranks)[0])
            theirs.append(_torchrun(bench, "ready.py", nodes, ranks))
        rows.append(_told(row(label, median(ours), median(theirs), 0.6)))
    print_rows(rows)
    print(f"\nthe last warm 2×4 with lightning by stage: {stages}\n")


def _told(cells: tuple[str, ...]) -> tuple[str, ...]:
    """Show a row as soon as it is measured: the whole table takes minutes."""
    print(" ".join(cells), file=sys.stderr, flush=True)
    return cells


def memory(bench: Bench) -> None:
    """Print the memory of the whole tree for 4 machines of 4 ranks."""
    out = bench.out()
    experiment = bench.run(out, "ready.py", "--instance_type", "4_v100_16gb", "--gpus", "16")
    all_ready(out, 16)
    agents = [json.loads(lock.read_text())["pid"] for lock in (bench.home / "agents").glob("*.lock")]
    ours = pss_mb([*agents, *grid_processes(bench.began)])
    bench.end(out, experiment)
    out = bench.out()
    bench.torchrun(out, "ready.py", 4, 4)
    all_ready(out, 16)
    theirs = pss_mb([pid for parent in bench.torchruns for pid in tree(parent)])
    bench.end(out)
    head = ("memory (PSS) of 4 × 4 ranks", "grid MB", "torchrun MB", "ratio", "target", "")
    print_rows([head, row("whole tree", ours, theirs, 0.25)])


def _grid(bench: Bench, script: str, nodes: int, ranks: int) -> tuple[float, str]:
    out, began = bench.out(), time.time()
    experiment = bench.run(
        out, script, "--instance_type", "8_v100_16gb" if nodes == 1 else "4_v100_16gb", "--gpus", "8"
    )
    seconds = all_ready(out, nodes * ranks) - began
    bench.end(out, experiment)
    return seconds, _stages(bench, experiment, began)


def _torchrun(bench: Bench, script: str, nodes: int, ranks: int) -> float:
    out, began = bench.out(), time.time()
    bench.torchrun(out, script, nodes, ranks)
    seconds = all_ready(out, nodes * ranks) - began
    bench.end(out)
    return seconds


def _stages(bench: Bench, experiment: str, began: float) -> str:
    """Return the platform's own part by stage, in milliseconds since the command was typed."""
    events = json.loads(bench.grid("status", "-o", "json", experiment))["events"]
    wanted = {"queued": "queued", "submitted": "agents started", "preparing": "all said hello"}
    parts: list[str] = []
    for event in events:
        name = wanted.get(event["to"] or "") or ("all prepared" if event["from"] == "preparing" else None)
        if event["to"] == "running" and event["kind"] == "state":
            name = "all ranks forked"
        if name is not None:
            at = datetime.fromisoformat(event["at"].replace("Z", "+00:00")).timestamp()
            parts.append(f"{name} {1000 * (at - began):.0f} ms")
    return ", ".join(parts)
