"""300 viewers of the page against one real server: what each costs in processor and memory, and how soon it hears.

    python -m benchmarks.viewers [--viewers 300] [--seconds 20]

A viewer is a connection to the stream of events with three topics: all runs, one run, one of its experiments. One
experiment changes every second. The same changes without viewers are measured first and taken off.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.fake_agents import Connection, fill, pretend_alive
from benchmarks.support import median, print_rows, processor_s, server_process
from opengrid.core.tokens import new_token
from opengrid.store.database import Database


@dataclass(slots=True)
class Seen:
    """What the viewers got, and when."""

    ready: int = 0
    changes: int = 0
    delays: list[float] = field(default_factory=list[float])
    changed_at: float = 0.0


async def viewer(host: str, port: int, token: str, seen: Seen) -> None:
    """Connect, and count changes for ever."""
    reader, writer = await asyncio.open_connection(host, port)
    topics = "topic=runs&topic=run:fake-0&topic=experiment:fake-0-exp0"
    head = f"GET /api/v1/stream?{topics} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    writer.write(head.encode())
    while line := await reader.readline():
        if line.startswith(b"event: ready"):
            seen.ready += 1
        elif line.startswith(b'data: {"kind":"runs"'):
            seen.changes += 1
            seen.delays.append(time.monotonic() - seen.changed_at)


async def change(state: Path, user: Connection, token: str, seconds: int, seen: Seen) -> list[float]:
    """Change an experiment every second; return how long the request of each second took."""
    database, took = Database.open(f"sqlite:///{state / 'grid.db'}"), list[float]()
    try:
        for second in range(seconds):
            with database.transaction() as tx:
                tx.runs.set_reason("r0e0", f"waits for {second} GPUs {time.monotonic()}")
            seen.changed_at = started = time.monotonic()
            await user.call("POST", "/api/v1/stop", token, {"kind": "run", "names": []})  # wakes who watches
            took.append(time.monotonic() - started)
            await asyncio.sleep(max(0.0, 1.0 - (time.monotonic() - started)))
    finally:
        database.close()
    return took


def resident_mb(pid: int) -> float:
    """Return the memory of a process that no other has."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


async def measure(state: Path, url: str, token: str, viewers: int, seconds: int) -> None:
    """Measure without viewers, then with them."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 0
    user, seen = Connection(host, port), Seen()
    await user.open()
    pid = int(str((await user.call("GET", "/api/v1/server", token))["pid"]))
    await change(state, user, token, 3, Seen())
    used = processor_s(pid)
    await change(state, user, token, seconds, Seen())
    alone, memory = (processor_s(pid) - used) / seconds, resident_mb(pid)
    tasks = [asyncio.create_task(viewer(host, port, token, seen)) for _ in range(viewers)]
    while seen.ready < viewers:
        await asyncio.sleep(0.05)
    await change(state, user, token, 3, seen)
    seen.changes, used = 0, processor_s(pid)
    seen.delays.clear()
    took = await change(state, user, token, seconds, seen)
    watched, more = (processor_s(pid) - used) / seconds, resident_mb(pid) - memory
    for task in tasks:
        task.cancel()
    seen.delays.sort()
    print_rows(
        [
            (f"{viewers} viewers, one change a second", "value", "target"),
            ("server without viewers, % of a core", f"{100 * alone:.1f}", ""),
            ("what the viewers add, % of a core", f"{100 * (watched - alone):.1f}", "< 5"),
            ("memory of a viewer, MB", f"{more / viewers:.3f}", "< 0.1"),
            ("changes that reached viewers", f"{seen.changes} of {viewers * seconds}", "all"),
            ("change → viewer, p50", f"{1000 * median(seen.delays):.0f} ms", ""),
            ("change → viewer, p99", f"{1000 * seen.delays[int(len(seen.delays) * 0.99)]:.0f} ms", ""),
            ("another request meanwhile, worst", f"{1000 * max(took):.0f} ms", ""),
        ]
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--viewers", type=int, default=300)
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="og-") as folder:
        state = Path(folder)
        (state / "secret").write_text(new_token())
        pretend_alive(state / "agents", fill(state, 20))
        with server_process(state) as url:
            asyncio.run(measure(state, url, (state / "token").read_text(), options.viewers, options.seconds))


if __name__ == "__main__":
    main()
