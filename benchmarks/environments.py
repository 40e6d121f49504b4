"""What a requirements file adds to an experiment's start: none, one that the interpreter meets, and a warm overlay."""

from __future__ import annotations

import json
import os
import resource
import statistics
import time

from tests.support.wheels import make_wheel

from benchmarks.sides import Bench, all_ready
from benchmarks.support import median, print_rows, processor_s

_ROUNDS = 3 * int(os.environ.get("BENCH_REPEATS", "5"))

_MOST_MS = 50


def environments(bench: Bench) -> None:
    """Print the table: whole commands, in turn, from the command typed to the script's first line.

    Processor time is that of command, server and rank until then: a busy machine changes it little.
    """
    wheel = make_wheel(bench.folder / "wheels", "ogbench", "1.0")
    (bench.code / "met.txt").write_text("torch\n")
    (bench.code / "overlay.txt").write_text(f"torch\nogbench @ {wheel.as_uri()}\n")
    kinds = {"": (), "met.txt": ("--dependency_file", "met.txt"), "overlay.txt": ("--dependency_file", "overlay.txt")}
    for options in kinds.values():  # makes environments and templates
        _start(bench, *options)
        _start(bench, *options)
    seen: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for number in range(_ROUNDS):
        for kind in kinds if number % 2 else reversed(kinds):
            seen[kind].append(_start(bench, *kinds[kind]))
    for column, what in enumerate(("processor time", "seconds")):
        rows = [(f"command → first line, {what}, {_ROUNDS} rounds", "s", "added ms", "middle half", "target", "")]
        bare = [one[column] for one in seen[""]]
        rows.append(("no requirements file", f"{median(bare):.3f}", "", "", "", ""))
        for kind, label in (("met.txt", "one that the interpreter meets"), ("overlay.txt", "a warm environment")):
            ours = [one[column] for one in seen[kind]]
            low, middle, high = statistics.quantiles([1000 * (a - b) for a, b in zip(ours, bare, strict=True)], n=4)
            verdict = "ok" if middle < _MOST_MS else "MISSED"
            spread = f"{low:.0f} - {high:.0f}"
            rows.append((label, f"{median(ours):.3f}", f"{middle:.0f}", spread, f"< {_MOST_MS}", verdict))
        print_rows(rows)
        print()


def _start(bench: Bench, *options: str) -> tuple[float, float]:
    """Return the processor time and the seconds until the script's first line."""
    out, server = bench.out(), json.loads((bench.home / "server.json").read_text())["pid"]
    busy, began = _children_s() + processor_s(server), time.time()
    experiment = bench.run(out, "begun.py", *options)
    seconds = all_ready(out, 1) - began
    busy = _children_s() + processor_s(server) - busy + float((out / "busy").read_text())
    bench.end(out, experiment)
    state = json.loads(bench.grid("status", "-o", "json", experiment))["state"]
    if state != "succeeded":
        raise RuntimeError(f"{experiment} is {state}")
    return busy, seconds


def _children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
