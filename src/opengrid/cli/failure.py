"""Why an experiment failed, on one screen."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING

from opengrid.cli.output import wrapped

if TYPE_CHECKING:
    from opengrid.client.documents import ExperimentRow, MemoryDocument

#: What the screen holds beside the traceback.
_OTHER_LINES = 13

_WIDTH = 80


def failure_lines(experiment: ExperimentRow) -> list[str]:
    """Return why an experiment failed: exit code, first failing rank, its memory, traceback, where the rest is."""
    name, code = experiment["experiment"], experiment["exit_code"]
    lines = [f"{name} failed" + (f" with exit code {code}" if code is not None else "")]
    cause = experiment.get("root_cause")
    if cause is None:
        return [*lines, *_wrapped(experiment["reason"]), "", f"  grid logs {name}", f"  grid status {name}"]
    lines += _wrapped(cause["cause"])
    rank = cause["rank"]
    if rank is not None:
        role = "missing" if cause["exit_code"] in (0, None) else "first failing"
        lines.append(f"  {role} rank: {rank} (node {cause['node']}, machine {cause['machine']})")
    if cause["memory"] is not None:
        lines += _wrapped(f"memory: {_memory(cause['memory'])}")
    if cause["victims"]:
        lines += _wrapped(f"{_ranks(cause['victims'])} followed")
    if cause["log_tail"].strip():
        lines += ["", *_tail(cause["log_tail"])]
    if cause["hint"]:
        lines += ["", *_wrapped(f"hint: {cause['hint']}")]
    has_run = rank is not None or experiment["attempts"] > 0  # else its build has failed
    which = f" --rank {rank}" if rank is not None else "" if has_run else " --show-build-logs"
    return [*lines, "", f"  the rest: grid logs {name}{which}"]


def _tail(text: str) -> list[str]:
    height = shutil.get_terminal_size().lines if sys.stderr.isatty() or sys.stdout.isatty() else 50
    all_lines = text.rstrip().splitlines()
    shown = all_lines[-max(8, height - _OTHER_LINES) :]
    return [*(["    …"] if len(shown) < len(all_lines) else []), *(f"    {line}" for line in shown)]


def _memory(memory: MemoryDocument) -> str:
    peak, available = memory["peak_mib"], memory["available_mib"]
    told = [f"{peak:,} MiB at most"] if peak is not None else []
    told += [f"{available:,} MiB left on its machine at the end"] if available is not None else []
    return ", ".join(told)


def _ranks(ranks: list[int]) -> str:
    """Return `ranks 0-2, 4-7` for sorted ranks."""
    spans: list[tuple[int, int]] = []
    for rank in ranks:
        if spans and rank == spans[-1][1] + 1:
            spans[-1] = (spans[-1][0], rank)
        else:
            spans.append((rank, rank))
    named = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
    return f"rank{'s' if len(ranks) > 1 else ''} {named}"


def _wrapped(text: str) -> list[str]:
    return wrapped(text, _WIDTH, first="  ", more="  ")
