"""What one waits for at the prompt, and what logs cost the ranks."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.sides import Bench, wait_until
from benchmarks.support import median, print_rows, server_process

#: What the server imports: its libraries alone, and with our own modules.
_LIBRARIES = "import fastapi, uvicorn, uvloop, httptools, sqlalchemy, pydantic, structlog"
_IMPORTS = f"{_LIBRARIES}; import opengrid.server.__main__"

_WARM_UP, _WINDOWS, _WINDOW_S = 50, 30, 3.0


def commands(bench: Bench) -> None:
    """Print the times of single commands."""
    first_lines: list[float] = []
    for _ in range(5):
        out, began = bench.out(), time.monotonic()
        experiment = bench.run(out, "sh", "--instance_type", "2_cpu_4gb", arguments=["-c", "echo first; sleep 600"])
        first_lines.append(_first_line(bench, experiment, began))
        bench.grid("stop", "experiment", experiment)
    ready, libraries, imports = [], [], []
    for _ in range(5):
        with tempfile.TemporaryDirectory(prefix="og-") as home:
            began = time.monotonic()
            with server_process(Path(home)):
                ready.append(time.monotonic() - began)
        libraries.append(_imported(_LIBRARIES))
        imports.append(_imported(_IMPORTS))
    print_rows(
        [
            ("command", "s", "target", ""),
            _timed("grid --help", _seconds(bench, "--help"), 0.15),
            _timed("grid status", _seconds(bench, "status"), 0.25),
            _timed("submit → first line in grid logs -f, p50", median(first_lines), 1.0),
            _timed("server ready", median(ready), 2.0),
            _timed(f"server ready ÷ its bare imports ({median(imports):.2f} s)", median(ready) / median(imports), 1.5),
            (
                f"server ready ÷ imports of its libraries ({median(libraries):.2f} s)",
                f"{median(ready) / median(libraries):.2f}",
                "",
                "",
            ),
        ]
    )


def _imported(code: str) -> float:
    began = time.monotonic()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.monotonic() - began


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
    """Print steps a second of the VAE on 4 ranks: both trainings live, in turns, each paused while the other works.

    A shared machine's speed changes by a third within a minute: only neighbouring windows can be compared.
    """
    ours, theirs = bench.out(), bench.out()
    experiment = bench.run(ours, "steady.py", "--instance_type", "4_v100_16gb", "--gpus", "4")
    bench.torchrun(theirs, "steady.py", 1, 4)
    wait_until(lambda: _steps(ours) > _WARM_UP and _steps(theirs) > _WARM_UP)
    platform = [json.loads((bench.home / "server.json").read_text())["pid"]]
    platform += [json.loads(lock.read_text())["pid"] for lock in (bench.home / "agents").glob("*.lock")]
    sides = {ours: [*_ranks(ours), *platform], theirs: _ranks(theirs)}
    speeds: dict[Path, list[float]] = {ours: [], theirs: []}
    try:
        for number in range(2 * _WINDOWS):
            side, other = (ours, theirs) if number % 2 else (theirs, ours)
            _signal(sides[other], signal.SIGSTOP)
            _signal(sides[side], signal.SIGCONT)
            speeds[side].append(_speed(side))
    finally:
        _signal([*sides[ours], *sides[theirs]], signal.SIGCONT)
    bench.end(theirs)
    bench.end(ours, experiment)
    ratio, middle_half = _compared(speeds[ours], speeds[theirs])
    figures = f"{median(speeds[ours]):.1f}", f"{median(speeds[theirs]):.1f}", f"{ratio:.3f}", "≥ 0.98"
    print_rows(
        [
            (f"VAE, 4 ranks, {_WINDOWS} pairs", "grid steps/s", "torchrun steps/s", "median ratio", "target", ""),
            ("steady state", *figures, "ok" if ratio >= 0.98 else "MISSED"),
            ("middle half of the ratios", "", "", middle_half, "", ""),
        ]
    )


def _compared(these: list[float], those: list[float]) -> tuple[float, str]:
    """Return the median of the ratios of neighbours, and between what their middle half lies."""
    ratios = sorted(a / b for a, b in zip(these, those, strict=True))
    quarter = len(ratios) // 4
    return median(ratios), f"{ratios[quarter]:.3f} - {ratios[-quarter - 1]:.3f}"


def _ranks(out: Path) -> list[int]:
    """Return the pids of a steady.py's ranks and of their parent, the launcher or torchrun."""
    return list({int(pid) for file in out.glob("pids.*") for pid in file.read_text().split()})


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        os.kill(pid, number)


def _steps(out: Path) -> int:
    file = out / "steps.0"
    return int(struct.unpack("q", file.read_bytes())[0]) if file.exists() and file.stat().st_size else 0


def _speed(out: Path) -> float:
    """Return the steps a second of the next seconds, from the end of one step to the end of another."""
    begun, began = _next_step(out, _steps(out))
    time.sleep(_WINDOW_S)
    ended, at = _next_step(out, _steps(out))
    return (ended - begun) / (at - began)


def _next_step(out: Path, step: int) -> tuple[int, float]:
    while _steps(out) == step:
        time.sleep(0.001)
    return _steps(out), time.monotonic()


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
