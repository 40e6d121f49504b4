"""What a requirements file adds to an experiment's start: none, one that the interpreter meets, and a warm overlay."""

from __future__ import annotations

import json
import os
import statistics
import time

from tests.support.wheels import make_wheel

from benchmarks.sides import Bench, all_ready
from benchmarks.support import median, print_rows

_ROUNDS = 4 * int(os.environ.get("BENCH_REPEATS", "5"))

_MOST_MS = 50


def environments(bench: Bench) -> None:
    """Print the table: whole commands, in turn, from the command typed to the script's first line."""
    wheel = make_wheel(bench.folder / "wheels", "ogbench", "1.0")
    (bench.code / "met.txt").write_text("torch\n")
    (bench.code / "overlay.txt").write_text(f"torch\nogbench @ {wheel.as_uri()}\n")
    kinds = {"": (), "met.txt": ("--dependency_file", "met.txt"), "overlay.txt": ("--dependency_file", "overlay.txt")}
    for options in kinds.values():  # makes environments and templates
        _start(bench, *options)
        _start(bench, *options)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    for number in range(_ROUNDS):
        order = list(kinds) if number % 2 else list(reversed(kinds))
        for kind in order:
            seconds[kind].append(_start(bench, *kinds[kind]))
    rows = [(f"command → first line, {_ROUNDS} rounds", "s", "added ms", "middle half", "target", "")]
    rows.append(("no requirements file", f"{median(seconds['']):.3f}", "", "", "", ""))
    for kind, label in (("met.txt", "one that the interpreter meets"), ("overlay.txt", "a warm environment")):
        added = [1000 * (ours - bare) for ours, bare in zip(seconds[kind], seconds[""], strict=True)]
        low, middle, high = statistics.quantiles(added, n=4)
        verdict = "ok" if middle < _MOST_MS else "MISSED"
        spread = f"{low:.0f} - {high:.0f}"
        rows.append((label, f"{median(seconds[kind]):.3f}", f"{middle:.0f}", spread, f"< {_MOST_MS}", verdict))
    print_rows(rows)


def _start(bench: Bench, *options: str) -> float:
    out, began = bench.out(), time.time()
    experiment = bench.run(out, "begun.py", *options)
    seconds = all_ready(out, 1) - began
    bench.end(out, experiment)
    state = json.loads(bench.grid("status", "-o", "json", experiment))["state"]
    if state != "succeeded":
        raise RuntimeError(f"{experiment} is {state}")
    return seconds
