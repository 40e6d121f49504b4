"""`grid rehearse`."""

from __future__ import annotations

import click

from opengrid.cli.completing import faults, names_of
from opengrid.cli.logs import experiment_of
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import print_json, settings, tell
from opengrid.core.errors import InvalidValue
from opengrid.core.protocol import Fault


@click.command()
@click.argument("experiment", shell_complete=names_of)
@click.argument("fault", metavar="FAULT", shell_complete=faults)
@click.argument("target", required=False, type=int, metavar="[RANK|MACHINE]")
@click.option("--yes", is_flag=True, help="Also where others use the server that is killed.")
@global_options
def rehearse(experiment: str, fault: str, target: int | None, *, yes: bool) -> None:
    """Bring a fault about on a running experiment, to see it recover.

    FAULT is one of kill-rank, hang-rank, kill-machine, partition-machine, preempt and kill-server. It happens to the
    rank or machine that is named, or the last one. The experiment's events record it.
    """
    chosen = next((known for known in Fault if known.value == fault.replace("_", "-")), None)
    if chosen is None:
        raise InvalidValue(
            f"{fault!r} cannot be rehearsed", hint=f"one of: {', '.join(known.value for known in Fault)}", field="fault"
        )
    name = experiment_of(experiment)
    with connected() as api:
        text = api.rehearse(name, chosen.value, target, confirmed=yes)
    if settings().is_json:
        print_json({"experiment": name, "rehearsal": text})
    else:
        click.echo(text)
        tell(f"grid status {name} shows what becomes of it")
