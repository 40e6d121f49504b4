"""Random kills of whatever carries a training, and the proof that its result is what it would have been.

`python -m tests.support.chaos --faults 200` (or `make chaos`) runs it by hand and prints what it did.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.grid import Grid, eventually
from tests.support.processes import files_below, is_alive, processes_of

RANKS = 8
_PRIME = 2_147_483_647

#: Every rank mixes what all ranks contribute into its total, so a step done twice, or left out, changes all that
#: follows. A checkpoint every few steps; lines are numbered per process; ends at the first step that sees the file.
TRAINING = f"""
import os, sys, time
import torch, torch.distributed as dist

dist.init_process_group("gloo")
rank, lines = dist.get_rank(), 0
step = total = 0
if os.path.exists("state.pt"):
    saved = torch.load("state.pt")
    step, total = saved["step"], saved["optimizer"]

def say(text):
    global lines
    print(f"line {{lines}} {{text}}", flush=True)
    lines += 1

say(f"begins at {{step}}")
while True:
    all_sum = torch.tensor([(rank + 1) * (step % 1009), rank == 0 and os.path.exists(sys.argv[1])])
    dist.all_reduce(all_sum)
    if all_sum[1]:
        break
    total = (total * 31 + int(all_sum[0])) % {_PRIME}
    step += 1
    say(f"step {{step}} total {{total}}")
    if rank == 0 and step % 5 == 0:
        torch.save({{"step": step, "optimizer": total}}, "state.part")
        os.replace("state.part", "state.pt")
    time.sleep(0.01)
say(f"result {{step}} {{total}}")
"""


def expected(steps: int) -> int:
    """Return the total of an undisturbed training of so many steps."""
    total = 0
    for step in range(steps):
        total = (total * 31 + sum((rank + 1) * (step % 1009) for rank in range(RANKS))) % _PRIME
    return total


@dataclass(slots=True)
class Chaos:
    """One training, and what is done to it."""

    grid: Grid
    folder: Path
    seed: int
    tell: Callable[[str], object] = lambda _: None
    tried: Counter[str] = field(default_factory=Counter[str])
    experiment: str = ""

    def start(self) -> None:
        """Start the training; return when it counts."""
        (self.folder / "chaos.py").write_text(TRAINING)
        self.experiment = self.grid.submit(
            *("--gpus", str(RANKS), "--instance_type", "4_v100_16gb", "--framework", "torch"),
            *("--max_restarts", "100000", "chaos.py", str(self._end_file)),
            cwd=self.folder,
        )
        self._wait_for_progress()

    def go_on(self, *, faults: int | None = None, seconds: float = float("inf")) -> None:
        """Bring faults about, so many or for so long, at random moments: also while another is recovered from."""
        chance, deadline = random.Random(self.seed), time.monotonic() + seconds
        number = 0
        while (faults is None or number < faults) and time.monotonic() < deadline:
            time.sleep(chance.uniform(0.0, 1.0))  # the moment is the fault's own
            kind = chance.choice(["rank", "rank", "rank", "launcher", "agent", "agent", "template", "server", "two"])
            victims = self._victims(kind, chance)
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if victims:
                number += 1
                self.tried[kind] += 1
            if chance.random() < 0.7:
                self._wait_for_progress()
            if victims:
                self.tell(f"{number:4} {kind:9} at step {self._step()}")
        self._wait_for_progress()

    def finish(self) -> dict[str, Any]:
        """Let the training end, and check what it leaves; return the experiment."""
        self._end_file.touch()
        ended = self.grid.ended(self.experiment)
        assert ended["state"] == "succeeded", ended
        self._check_result()
        self._check_logs(ended)
        self._check_events(ended)
        eventually(lambda: not self._left_running())
        return ended

    @property
    def _end_file(self) -> Path:
        return self.folder / "end"

    def _victims(self, kind: str, chance: random.Random) -> list[int]:
        if kind == "server":
            with contextlib.suppress(OSError, ValueError, KeyError):
                return [int(self.grid.server["pid"])]
            return []
        ranks = list(titled(f"grid {self.experiment} rank "))
        agents = list(titled("grid agent ", self.grid.home))
        launchers = sorted({parent_of(pid) for pid in ranks} - {0, 1})
        found = {
            "rank": ranks,
            "two": [*ranks, *agents],
            "agent": agents,
            "launcher": launchers,
            "template": sorted({parent_of(pid) for pid in launchers} - {0, 1}),
        }[kind]
        return chance.sample(found, min(len(found), 2 if kind == "two" else 1))

    def _wait_for_progress(self) -> None:
        """Wait until a start of all ranks that is still going on has counted on from here."""
        before = self._step()
        eventually(lambda: self._is_running() and self._step() > before)  # the command starts a killed server again

    def _is_running(self) -> bool:
        experiment = self.grid.experiment(self.experiment)  # starts the server again, if need be
        assert experiment["state"] not in ("failed", "stopped"), experiment
        return experiment["state"] == "running"

    def _step(self) -> int:
        """Return the newest step that any rank has told of, as its own output file has it."""
        spool = self.grid.home / "agents" / "spool"
        steps = [0]
        for file in files_below(spool):
            with contextlib.suppress(OSError):
                steps += [int(step) for step in re.findall(rb"step (\d+) total", file.read_bytes()[-200:])]
        return max(steps)

    def _check_result(self) -> None:
        log = self.grid.log(self.experiment).decode()
        results = set(re.findall(r"result (\d+) (\d+)", log))
        assert len(results) == 1, results
        ((steps, total),) = results
        assert int(total) == expected(int(steps)), f"{steps} steps gave {total}, not {expected(int(steps))}"
        self.tell(f"{steps} steps gave {total}, as undisturbed")

    def _check_logs(self, ended: dict[str, Any]) -> None:
        """Within one start, a rank's lines have no gap and no repeat; those of the last start are whole."""
        for start in ended["starts"]:
            place = ("--attempt", str(start["attempt"]), "--generation", str(start["generation"]))
            log = self.grid.log(self.experiment, *place).decode()
            lines = re.findall(r"^\[rank (\d+)\] line (\d+) ", log, re.MULTILINE)
            for rank in range(RANKS):
                numbers = [int(number) for of, number in lines if int(of) == rank]
                assert numbers == list(range(len(numbers))), f"start {place}, rank {rank}: {numbers[-20:]}"
                if start is ended["starts"][-1]:
                    assert numbers, f"nothing of rank {rank} in the last start"

    def _check_events(self, ended: dict[str, Any]) -> None:
        starts, events = ended["starts"], ended["events"]
        begun = [event for event in events if event["kind"] == "generation" and event["from"] is None]
        assert len(begun) == len(starts) == ended["generations"]
        assert max(start["attempt"] for start in starts) <= ended["attempts"]
        assert all(start["cause"] or start["ended_at"] for start in starts)
        states = [event for event in events if event["kind"] == "state"]
        assert states[-1]["to"] == "succeeded"
        for before, after in itertools.pairwise(states):
            assert after["from"] == before["to"], (before, after)

    def _left_running(self) -> list[int]:
        server = int(self.grid.server["pid"])
        return [pid for pid in processes_of(str(self.grid.home / "work")) if pid != server] + list(
            titled("grid agent ", self.grid.home)
        )


def titled(title: str, home: Path | None = None) -> Iterator[int]:
    """Yield living processes by the begin of their title; of agents, those that work for a home."""
    locks = {} if home is None else {lock.name.removesuffix(".lock"): lock for lock in (home / "agents").glob("*.lock")}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found = (folder / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            if found.startswith(title) and is_alive(int(folder.name)):
                attempt, _, machine = found.removeprefix(title).partition(" machine ")
                if home is None or f"{attempt}-{machine}" in locks:
                    yield int(folder.name)


def parent_of(pid: int) -> int:
    """Return a process's parent; 0 when it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def main() -> int:
    """Run it by hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="og-", dir="/tmp"))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GRID_")}
    grid = Grid(folder / "home", folder, {**kept, "GRID_CACHE": str(folder / "cache")})
    chaos = Chaos(grid, folder, given.seed, tell=lambda text: print(text, flush=True))
    print(f"seed {given.seed}; {folder}")
    began = time.monotonic()
    try:
        chaos.start()
        chaos.go_on(faults=given.faults)
        ended = chaos.finish()
    finally:
        grid.call("server", "stop")
    kinds = ", ".join(f"{number} × {kind}" for kind, number in sorted(chaos.tried.items()))
    tried = sum(chaos.tried.values())
    print(f"survived {tried} of {tried} faults ({kinds}) in {time.monotonic() - began:.0f} s;", end=" ")
    print(f"{ended['generations']} starts in {ended['attempts']} attempts")
    shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
