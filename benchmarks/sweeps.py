"""A sweep of a thousand experiments: how long until all are created, and until they are listed."""

from __future__ import annotations

import json
import os
import time

from benchmarks.sides import Bench
from benchmarks.support import median, print_rows

_REPEATS = int(os.environ.get("BENCH_REPEATS", "5"))
_EXPERIMENTS = 1000


def sweeps(bench: Bench) -> None:
    """Print the table; every run is stopped before its first experiment is through."""
    (bench.code / "quick.py").write_text("print(1)\n")
    created, listed, documents = [], [], []
    for _ in range(_REPEATS):
        typed = ("run", "--detach", "-o", "json", "--instance_type", "2_cpu_4gb", "--parallel", "1", "quick.py")
        answer, seconds = _timed(bench, *typed, "--x", f"range({_EXPERIMENTS})")
        created.append(seconds)
        run = json.loads(answer)["run"]
        bench.grid("stop", run)
        listed.append(_timed(bench, "status", run)[1])
        documents.append(_timed(bench, "status", "-o", "json", run)[1])
        bench.grid("run", "--dry_run", "quick.py")  # the server is at rest again
    rows = [(f"{_EXPERIMENTS:,} experiments, whole commands", "s", "target", "")]
    for label, seconds in (
        ("grid run: planned, created, queued", created),
        ("grid status RUN", listed),
        ("grid status RUN -o json", documents),
    ):
        value = median(seconds)
        rows.append((label, f"{value:.2f}", "≤ 1", "ok" if value <= 1 else "MISSED"))
    print_rows(rows)


def _timed(bench: Bench, *arguments: str) -> tuple[str, float]:
    began = time.monotonic()
    answer = bench.grid(*arguments)
    return answer, time.monotonic() - began
