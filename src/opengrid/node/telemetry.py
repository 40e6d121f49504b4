"""How much ranks use of their machine, measured while they run: samples in a file that is shipped like their output."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.nvml import GpuUse, Meter
from opengrid.core.protocol import Assignment
from opengrid.core.samples import Quantity, Sample, encode
from opengrid.node.clock import ServerClock
from opengrid.node.counters import Counters, read_counters
from opengrid.node.logs import Extra
from opengrid.node.progress import Usage, usage

#: How often ranks are measured: every 2 s at first, so that short trainings are seen, later less often.
_SHORTEST_S, _LONGEST_S, _SHARE_OF_AGE = 2.0, 10.0, 1 / 60

#: Less often where a look at all processes takes more than this share of a processor.
_MOST_LOAD = 0.003

#: Before this time has passed a share of it means nothing.
_FIRST_S = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen at one moment."""

    at_s: float  #: of a clock that is never set
    ranks: Mapping[int, Usage]
    machine: Counters
    gpus: Mapping[int, GpuUse]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Watched:
    """Ranks that run."""

    path: Path
    groups: Mapping[int, int]  #: by process group, its rank
    began_s: float


class Telemetry:
    """Measures this machine's ranks in a thread of low priority, from watch() to rest()."""

    def __init__(
        self, assignment: Assignment, clock: ServerClock, *, nvml: str | None, log: Callable[[str], None]
    ) -> None:
        self._clock, self._nvml, self._log = clock, nvml, log
        self._machine, self._gpus = assignment.machine, _gpus(assignment)
        self._watched: _Watched | None = None
        self._changed = threading.Event()
        self._is_stopped = False

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="telemetry", daemon=True).start()

    def watch(self, path: Path, groups: Mapping[int, int]) -> None:
        """Measure these ranks, by the process group of each, into a file that exists."""
        ranks = {group: rank for rank, group in groups.items()}
        self._watched = _Watched(path=path, groups=ranks, began_s=time.monotonic())
        self._changed.set()

    def rest(self) -> None:
        """Measure nothing until the next ranks."""
        self._watched = None
        self._changed.set()

    def stop(self) -> None:
        """Have the thread end."""
        self._is_stopped = True
        self.rest()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)
        meter: Meter | None = None
        while not self._is_stopped:
            self._changed.clear()
            watched = self._watched
            if watched is None:
                self._changed.wait()
                continue
            meter = meter or Meter(list(self._gpus.values()), self._nvml)  # a driver may take seconds to wake up
            try:
                self._measure(watched, meter)
            except OSError as error:  # the training does without
                self._log(f"telemetry: {error}; these ranks are measured no more")
                self._changed.wait()
        if meter is not None:
            meter.close()

    def _measure(self, watched: _Watched, meter: Meter) -> None:
        """Measure the same ranks until others are to be measured, or none."""
        before = self._look(watched, meter)
        wait_s = _FIRST_S
        while not self._changed.wait(wait_s):
            began = time.thread_time()
            now = self._look(watched, meter)
            found = samples_between(before, now, machine=self._machine)
            with watched.path.open("ab", buffering=0) as file:
                file.write(encode(self._clock.now_ns() / 1e9, found))
            before = now
            age_s = time.monotonic() - watched.began_s
            usual_s = min(max(age_s * _SHARE_OF_AGE, _SHORTEST_S), _LONGEST_S)
            wait_s = max(usual_s, (time.thread_time() - began) / _MOST_LOAD)

    def _look(self, watched: _Watched, meter: Meter) -> Look:
        found = usage(watched.groups.keys())
        return Look(
            at_s=time.monotonic(),
            ranks={watched.groups[group]: one for group, one in found.items()},
            machine=read_counters(),
            gpus=dict(zip(self._gpus, meter.read(), strict=True)),
        )


def samples_between(before: Look, now: Look, *, machine: int) -> list[Sample]:
    """Return what is measured at the second of two looks; shares and speeds are those since the first."""
    seconds = now.at_s - before.at_s
    found: list[Sample] = []
    for rank, used in sorted(now.ranks.items()):
        cpu_s = max(0.0, used.cpu_s - before.ranks[rank].cpu_s) if rank in before.ranks else used.cpu_s
        found.append(Sample(Quantity.RANK_CPU, rank, 100 * cpu_s / seconds))
        found.append(Sample(Quantity.RANK_MEMORY, rank, used.resident))
    for gpu, use in sorted(now.gpus.items()):
        if use.use is not None:
            found.append(Sample(Quantity.GPU_USE, gpu, use.use))
        if use.memory is not None:
            found.append(Sample(Quantity.GPU_MEMORY, gpu, use.memory))
    old, new = before.machine, now.machine
    if new.ticks > old.ticks:
        share = (new.busy - old.busy) / (new.ticks - old.ticks)
        found.append(Sample(Quantity.MACHINE_CPU, machine, 100 * min(max(0.0, share), 1.0)))
    found.append(Sample(Quantity.MACHINE_MEMORY, machine, new.memory))
    speeds = {
        Quantity.MACHINE_RECEIVED: new.received - old.received,
        Quantity.MACHINE_SENT: new.sent - old.sent,
        Quantity.MACHINE_READ: new.read - old.read,
        Quantity.MACHINE_WRITTEN: new.written - old.written,
    }
    found += [Sample(quantity, machine, max(0, grown) / seconds) for quantity, grown in speeds.items()]
    return found


def samples_stream(path: Path, generation: int) -> Extra:
    """Return how the samples of a generation are shipped."""
    return Extra(path=path, target=f"/agent/v1/samples/{generation}", what=f"generation {generation}'s samples")


def find_samples(spool: Path) -> Sequence[Extra]:
    """Return the samples in a spool, of an agent that this one replaces."""
    found = [path for path in spool.glob("*/samples") if path.parent.name.isdecimal()]
    return [samples_stream(path, int(path.parent.name)) for path in found]


def _gpus(assignment: Assignment) -> dict[int, str]:
    """Return what names each real GPU of this machine, by its number in the gang."""
    if assignment.simulated or assignment.counted or not assignment.devices:
        return {}
    nodes = assignment.gang.nodes_of(assignment.machine)
    return {
        node.index * node.gpus + position: device
        for node, devices in zip(nodes, assignment.devices, strict=True)
        for position, device in enumerate(devices)
    }
