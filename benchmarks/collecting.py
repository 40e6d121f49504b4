"""What collecting artifacts costs a training: windows of it with files where they are collected, or elsewhere.

A computer that others use too changes its speed by more than the part in a hundred that is looked for. So many more
files come than a training would write, neighbouring windows are compared, and the result is told with how sure it is:
the training time that is lost for 1,000 files, and what part of the steps that is when they come within a minute.
"""

from __future__ import annotations

import json
import math
import os
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.sides import Bench, wait_until
from benchmarks.support import print_rows

#: Files of a window, all written in its first seconds. The agent looks every 2 to 3 s, and collects in one second.
_FILES, _FILE_BYTES, _WRITING_S, _WINDOW_S = 3000, 20_000, 2.0, 8.0

#: How long 1,000 files take to come that are written one by one: no look finds many of them.
_SPREAD_S = 60.0

#: Pairs of windows, unless BENCH_PAIRS says how many.
_PAIRS = 40

#: So long is the training that writes 1,000 files, and so much may it lose, in %.
_TRAINING_S, _TARGET = 60.0, 1.0

#: At either end this part of the pairs is left out: those in which other programs came or went.
_TRIMMED = 0.2

#: Pairs are drawn anew so often to learn how sure their mean is, 19 times in 20.
_DRAWS, _BEYOND = 4000, 0.025


@dataclass(frozen=True, slots=True, kw_only=True)
class _Window:
    is_collected: bool
    steps_per_s: float
    rank_s_per_step: float  #: rank 0's own processor time
    server_s: float
    agent_s: float


@dataclass(frozen=True, slots=True)
class _Estimate:
    value: float
    low: float
    high: float

    def through(self, change: Callable[[float], float]) -> _Estimate:
        """Return the same of what a falling or rising function makes of it."""
        low, high = sorted((change(self.low), change(self.high)))
        return _Estimate(change(self.value), low, high)


def artifacts(bench: Bench) -> None:
    """Print what collecting costs ranks that need all processors, and ranks that leave one of them free."""
    processors = os.cpu_count() or 1
    for ranks in dict.fromkeys([processors, max(1, processors - 1)]):
        wanted = {"pairs": int(os.environ.get("BENCH_PAIRS", _PAIRS)), "files": _FILES, "bytes": _FILE_BYTES}
        pairs, files, load = _train(bench, ranks, {**wanted, "writing_s": _WRITING_S, "window_s": _WINDOW_S})
        one_by_one = {"pairs": 1, "files": 1000, "bytes": _FILE_BYTES, "writing_s": _SPREAD_S}
        spread, _, _ = _train(bench, ranks, {**one_by_one, "window_s": _SPREAD_S + _WINDOW_S - _WRITING_S})
        measured = _rows(f"{ranks} rank{'s' if ranks > 1 else ''} on {processors} processors", pairs, spread)
        print_rows(
            [*measured, _row(f"collected of {len(pairs) * _FILES} files; load of the computer", f"{files}; {load}")]
        )
        print(flush=True)


def _train(bench: Bench, ranks: int, wanted: Mapping[str, float]) -> tuple[list[tuple[_Window, _Window]], int, str]:
    """Return pairs of windows, with the files collected and with them not, how many were collected, and the load."""
    out, home = bench.out(), bench.home
    options = ("--instance_type", "2_cpu_4gb", "--processes_per_node", str(ranks))
    experiment = bench.run(
        out,
        "collected.py",
        *options,
        arguments=[text for name, value in wanted.items() for text in (f"--{name}", str(value))],
    )
    locks = home / "agents"
    wait_until(lambda: any(lock.read_text() for lock in locks.glob("*.lock")))
    server, agent = (json.loads(file.read_text())["pid"] for file in (home / "server.json", *locks.glob("*.lock")))
    (out / "watched").write_text(json.dumps({"server_s": server, "agent_s": agent}))
    wait_until((out / "load").exists, patience_s=4 * wanted["pairs"] * wanted["window_s"] + 180)
    windows = [_Window(**json.loads(line)) for line in (out / "windows").read_text().splitlines()]
    bench.end(out, experiment)
    collected = json.loads(bench.grid("artifacts", "--list", "-o", "json", experiment))["artifacts"]
    pairs_of = zip(*([one for one in windows if one.is_collected is kind] for kind in (True, False)), strict=True)
    return list(pairs_of), sum("window" in one["path"] for one in collected), (out / "load").read_text()


def _rows(
    title: str, pairs: Sequence[tuple[_Window, _Window]], spread: Sequence[tuple[_Window, _Window]]
) -> list[Sequence[str]]:
    speed = _mean([math.log(with_files.steps_per_s / without.steps_per_s) for with_files, without in pairs])
    own = _mean([math.log(with_files.rank_s_per_step / without.rank_s_per_step) for with_files, without in pairs])
    lost = speed.through(lambda ratio: _WINDOW_S * (1 - math.exp(ratio)) * 1000 / _FILES)
    share = lost.through(lambda seconds: 100 * seconds / _TRAINING_S)
    more = own.through(lambda ratio: 100 * (math.exp(ratio) - 1))
    return [
        (f"{title}, {len(pairs)} pairs of {_WINDOW_S:g} s", "value", "19 times in 20", "target", ""),
        (*_row("steps/s that 1,000 files within a minute cost, %", share)[:3], "< 1", _verdict(share)),
        _row("the same as training time, s", lost),
        _row("processor time of agent + server for them, s", _taken(pairs, _FILES)),
        _row("the same when they come one by one, s", _taken(spread, 1000)),
        _row(f"a rank's own processor time for a step while {_FILES:,} come, more by %", more),
    ]


def _row(label: str, value: _Estimate | str) -> tuple[str, ...]:
    if isinstance(value, str):
        return label, value, "", "", ""
    return label, f"{value.value:.2f}", f"{value.low:.2f} to {value.high:.2f}", "", ""


def _taken(pairs: Sequence[tuple[_Window, _Window]], files: int) -> str:
    """Return the processor time for 1,000 files, and whose it is."""
    thousands = len(pairs) * files / 1000
    agent = sum(with_files.agent_s - without.agent_s for with_files, without in pairs) / thousands
    server = sum(with_files.server_s - without.server_s for with_files, without in pairs) / thousands
    return f"{agent + server:.2f} ({agent:.2f} + {server:.2f})"


def _verdict(share: _Estimate) -> str:
    if share.high < _TARGET:
        return "ok"
    return "MISSED" if share.low >= _TARGET else "cannot tell"


def _mean(values: Sequence[float]) -> _Estimate:
    """Return the mean of the middle of some numbers, and between what it lies when they are drawn anew."""
    chance = random.Random(0)
    means = sorted(_middle_mean(chance.choices(values, k=len(values))) for _ in range(_DRAWS))
    beyond = int(_DRAWS * _BEYOND)
    return _Estimate(_middle_mean(values), means[beyond], means[-beyond - 1])


def _middle_mean(values: Sequence[float]) -> float:
    left_out = int(len(values) * _TRIMMED)
    middle = sorted(values)[left_out : len(values) - left_out]
    return sum(middle) / len(middle)
