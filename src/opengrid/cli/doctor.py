"""`grid doctor`: whether this computer can train, on one screen, with advice."""

from __future__ import annotations

import os

import click

from opengrid.cli.options import global_options
from opengrid.cli.output import ProgressLine, colour, print_json, settings, wrapped

#: As states that are coloured so.
_COLOURS = {"ok": "succeeded", "warning": "queued", "problem": "failed"}

_WIDTH = 100


@click.command()
@click.option("--python", help="Interpreter of the ranks [default: the active environment's].")
@global_options
def doctor(*, python: str | None) -> int:
    """Look whether this computer can train: torch, GPUs, memory, limits, disk, network.

    The exit code is 1 when something will not work.
    """
    from opengrid.cli.facts import read_facts  # parts of the engine, which no other command loads
    from opengrid.planning.health import Level, examine

    line = ProgressLine()
    line.show("looking around; loading torch takes some seconds …")
    try:
        checks = examine(read_facts(os.environ, python))
    finally:
        line.clear()
    if settings().is_json:
        rows = [{"name": c.name, "level": c.level.value, "said": c.said, "advice": c.advice or None} for c in checks]
        print_json({"checks": rows})
    else:
        for check in checks:
            level = colour(f"{check.level.value:<8}", _COLOURS[check.level.value])
            click.echo(f"{level} {check.name:<13} {check.said}")
            if check.advice:
                click.echo("\n".join(wrapped(check.advice, _WIDTH, first=" " * 25 + "→ ", more=" " * 27)))
    return int(any(check.level is Level.PROBLEM for check in checks))
