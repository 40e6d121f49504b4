"""What the benchmarks share: a server of their own, medians, aligned rows."""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

median = statistics.median


@contextlib.contextmanager
def server_process(home: Path, **environment: str) -> Iterator[str]:
    """Run a server with a home of its own while inside; give its URL."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith("GRID_")}
    process = subprocess.Popen(
        [sys.executable, "-m", "opengrid.server", "--home", str(home)],
        env={**clean, **environment},
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not (home / "server.json").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the server did not start")
            time.sleep(0.01)
        yield json.loads((home / "server.json").read_text())["url"]
    finally:
        process.terminate()
        process.wait(30)


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def print_rows(rows: Sequence[Sequence[str]]) -> None:
    """Print a Markdown table with aligned columns; the first row is the head when there are three columns or more."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0 and len(row) > 2:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def row(label: str, ours: float, theirs: float, target: float) -> tuple[str, ...]:
    """Return a table row that compares two numbers of which the first should be small."""
    ratio = ours / theirs
    verdict = "ok" if ratio <= target else "MISSED"
    return label, f"{ours:.2f}", f"{theirs:.2f}", f"{ratio:.3f}", f"≤ {target:g}", verdict
