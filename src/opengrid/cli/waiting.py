"""Waiting for a run with the server's help, and following what it writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from opengrid.cli.failure import failure_lines
from opengrid.cli.following import follow_log
from opengrid.cli.output import ProgressLine, tell
from opengrid.client.api import Api

if TYPE_CHECKING:
    from opengrid.client.documents import ExperimentRow, RunDocument

_ENDED = ("succeeded", "failed", "stopped")


def wait_until_running(api: Api, run: str) -> int:
    """Block until all ranks of all experiments run or have ended; return the exit code."""
    return _until_left(run, lambda: _wait(api, run, is_to_end=False))


def wait_until_ended(api: Api, run: str) -> int:
    """Block until all experiments have ended; return 0 when all succeeded, and show why not otherwise."""
    return _until_left(run, lambda: _wait(api, run, is_to_end=True))


def follow_run(api: Api, run: str) -> int:
    """Show what the run's first experiment writes until it ends, then wait for the others; exit code as of waiting."""

    def follow() -> int:
        follow_log(api, api.run(run)["experiments"][0]["experiment"], {})
        return _wait(api, run, is_to_end=True)

    return _until_left(run, follow)


def run_line(run: RunDocument) -> str:
    """Return where a run stands, in one line."""
    experiments = run["experiments"]
    if len(experiments) == 1:
        return _experiment_line(experiments[0])
    counts = Counter(experiment["state"] for experiment in experiments)
    reasons = (e["reason"] for e in experiments if e["state"] not in ("running", *_ENDED) and e["reason"])
    counted = ", ".join(f"{count} {state}" for state, count in counts.items())
    return f"{run['run']}: {counted}" + (f"; {why}" if (why := next(reasons, "")) else "")


def _wait(api: Api, run: str, *, is_to_end: bool) -> int:
    line, seen = ProgressLine(), dict[str, str]()
    experiments: list[ExperimentRow] = []
    try:
        for document in api.watch_run(run, "ended" if is_to_end else "started"):
            experiments = document["experiments"]
            line.show(run_line(document))
            if not line.is_possible:
                _tell_changes(experiments, seen)
    finally:
        line.clear()
    failed = [e for e in experiments if e["state"] == "failed"]
    for experiment in failed[:1]:
        tell("\n" + "\n".join(failure_lines(experiment)))
    if len(failed) > 1:
        tell(f"\n{len(failed) - 1} more failed: grid status {run}")
    if not failed and line.is_possible:
        tell(run_line({"run": run, "etag": "", "experiments": experiments}))
    return 1 if any(e["state"] in ("failed", "stopped") for e in experiments) else 0


def _tell_changes(experiments: list[ExperimentRow], seen: dict[str, str]) -> None:
    """Where no line can be written over: one line for every change of state."""
    for experiment in experiments:
        name, state = experiment["experiment"], experiment["state"]
        if seen.get(name) != state:
            seen[name] = state
            tell(_experiment_line(experiment))


def _experiment_line(experiment: ExperimentRow) -> str:
    reason = experiment["reason"]
    return f"{experiment['experiment']}: {experiment['state']}" + (f", {reason}" if reason else "")


def _until_left(run: str, wait: Callable[[], int]) -> int:
    """Let Ctrl-C end only the waiting; the exit code is then 130, so that nothing that depends on the end goes on."""
    try:
        return wait()
    except KeyboardInterrupt:
        tell(f"\nnot waiting any more; {run} goes on (`grid logs -f {run}-exp0`, `grid stop run {run}`)")
        click.get_current_context().exit(130)
