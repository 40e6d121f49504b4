"""What one waits for at the prompt, and what logs cost the ranks."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sides import Bench, wait_until
from benchmarks.support import median, print_rows, server_process

_IMPORTS = "import fastapi, uvicorn, uvloop, httptools, sqlalchemy, pydantic, structlog, coolname"


def commands(bench: Bench) -> None:
    """Print the times of single commands."""
    first_lines: list[float] = []
    for _ in range(5):
        out, began = bench.out(), time.monotonic()
        experiment = bench.run(out, "sh", "--instance_type", "2_cpu_4gb", arguments=["-c", "echo first; sleep 600"])
        first_lines.append(_first_line(bench, experiment, began))
        bench.grid("stop", "experiment", experiment)
    ready, imports = [], []
    for _ in range(5):
        with tempfile.TemporaryDirectory(prefix="og-") as home:
            began = time.monotonic()
            with server_process(Path(home)):
                ready.append(time.monotonic() - began)
        began = time.monotonic()
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True)
        imports.append(time.monotonic() - began)
    print_rows(
        [
            ("command", "s", "target", ""),
            _timed("grid --help", _seconds(bench, "--help"), 0.15),
            _timed("grid status", _seconds(bench, "status"), 0.25),
            _timed("submit → first line in grid logs -f, p50", median(first_lines), 1.0),
            _timed("server ready", median(ready), 2.0),
            _timed(f"server ready ÷ bare imports ({median(imports):.2f} s)", median(ready) / median(imports), 1.5),
        ]
    )


def _first_line(bench: Bench, experiment: str, began: float) -> float:
    follow = bench.start("logs", "-f", experiment)
    assert follow.stdout is not None
    follow.stdout.readline()
    seconds = time.monotonic() - began
    follow.terminate()
    follow.communicate(timeout=30)
    return seconds


def _seconds(bench: Bench, *arguments: str) -> float:
    times: list[float] = []
    for _ in range(9):
        began = time.monotonic()
        bench.grid(*arguments)
        times.append(time.monotonic() - began)
    return median(times)


def _timed(label: str, seconds: float, target: float) -> tuple[str, ...]:
    return label, f"{seconds:.2f}", f"≤ {target:g}", "ok" if seconds <= target else "MISSED"


def steady(bench: Bench) -> None:
    """Print steps a second of the VAE on 4 ranks, interleaved."""
    ours, theirs = [], []
    for _ in range(3):
        out = bench.out()
        experiment = bench.run(out, "steady.py", "--instance_type", "4_v100_16gb", "--gpus", "4")
        wait_until((out / "steps").exists)
        bench.end(out, experiment)
        ours.append(float((out / "steps").read_text()))
        out = bench.out()
        bench.torchrun(out, "steady.py", 1, 4)
        wait_until((out / "steps").exists)
        bench.end(out)
        theirs.append(float((out / "steps").read_text()))
    ratio = median(ours) / median(theirs)
    figures = f"{median(ours):.1f}", f"{median(theirs):.1f}", f"{ratio:.3f}", "≥ 0.98"
    print_rows(
        [
            ("VAE, 4 ranks", "grid steps/s", "torchrun steps/s", "ratio", "target", ""),
            ("steady state", *figures, "ok" if ratio >= 0.98 else "MISSED"),
        ]
    )


def logs(bench: Bench) -> None:
    """Print what shipping logs costs 8 ranks that write 10 MB/s each, and the memory of server and agent."""
    out, peaks = bench.out(), {"server": 0, "agent": 0}
    experiment = bench.run(out, "noisy.py", "--instance_type", "2_cpu_4gb", "--processes_per_node", "8")
    server = json.loads((bench.home / "server.json").read_text())["pid"]

    def look() -> bool:
        peaks["server"] = max(peaks["server"], _resident_mb(server))
        for lock in (bench.home / "agents").glob("*.lock"):
            if text := lock.read_text():
                peaks["agent"] = max(peaks["agent"], _resident_mb(json.loads(text)["pid"]))
        return len(list(out.glob("took.*"))) == 8

    wait_until(look)
    bench.end(out, experiment)
    ours = max(float(file.read_text()) for file in out.glob("took.*"))
    size = sum(f.stat().st_size for f in (bench.home / "logs").rglob("*.stdout"))
    out = bench.out()
    bench.torchrun(out, "noisy.py", 1, 8)
    wait_until(lambda: len(list(out.glob("took.*"))) == 8)
    bench.end(out)
    theirs = max(float(file.read_text()) for file in out.glob("took.*"))
    print_rows(
        [
            ("8 ranks × 10 MB/s × 5 s", "value", "target", ""),
            _timed("slowest rank, s (torchrun writing one file: " + f"{theirs:.2f})", ours, 5.1),
            _timed("server, MB", peaks["server"], 200),
            _timed("agent, MB", peaks["agent"], 200),
            ("bytes kept", f"{size:,}", ">= 400,000,000", "ok" if size >= 400_000_000 else "MISSED"),
        ]
    )


def _resident_mb(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/status").read_text().split("VmRSS:")[1].split()[0]) // 1000
    except (OSError, IndexError):
        return 0
