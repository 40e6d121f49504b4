"""Why an experiment failed, on one screen."""

from __future__ import annotations

import shutil
import sys
import textwrap

from opengrid.client.documents import ExperimentDocument

#: What the screen holds beside the traceback.
_OTHER_LINES = 12

_WIDTH = 80


def failure_lines(experiment: ExperimentDocument) -> list[str]:
    """Return why an experiment failed: exit code, first failing rank, traceback, where the rest is."""
    name, code = experiment["experiment"], experiment["exit_code"]
    lines = [f"{name} failed" + (f" with exit code {code}" if code is not None else "")]
    cause = experiment.get("root_cause")
    if cause is None:
        return [*lines, *_wrapped(experiment["reason"]), "", f"  grid logs {name}", f"  grid status {name}"]
    lines += _wrapped(cause["cause"])
    rank = cause["rank"]
    if rank is not None:
        lines.append(f"  first failing rank: {rank} (node {cause['node']}, machine {cause['machine']})")
    if cause["victims"]:
        lines += _wrapped(f"failed because of it: {_ranks(cause['victims'])}")
    if cause["log_tail"].strip():
        lines += ["", *_tail(cause["log_tail"])]
    if cause["hint"]:
        lines += ["", *_wrapped(f"hint: {cause['hint']}")]
    which = f" --rank {rank}" if rank is not None else ""
    return [*lines, "", f"  the rest: grid logs {name}{which}"]


def _tail(text: str) -> list[str]:
    height = shutil.get_terminal_size().lines if sys.stderr.isatty() or sys.stdout.isatty() else 50
    all_lines = text.rstrip().splitlines()
    shown = all_lines[-max(8, height - _OTHER_LINES) :]
    return [*(["    …"] if len(shown) < len(all_lines) else []), *(f"    {line}" for line in shown)]


def _ranks(ranks: list[int]) -> str:
    named = ", ".join(str(rank) for rank in ranks[:8])
    return f"rank{'s' if len(ranks) > 1 else ''} {named}" + (f" and {len(ranks) - 8} more" if len(ranks) > 8 else "")


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="  ", subsequent_indent="  ")
