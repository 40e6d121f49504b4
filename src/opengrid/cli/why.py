"""`grid why`: the card of a failure alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opengrid.cli.completing import names_of
from opengrid.cli.failure import failure_lines
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import note, print_json, settings
from opengrid.client.api import Api
from opengrid.core.names import split_experiment_name

if TYPE_CHECKING:
    from opengrid.client.documents import ExperimentRow


@click.command()
@click.argument("experiment", shell_complete=names_of)
@global_options
def why(experiment: str) -> None:
    """Show why an experiment failed, and what to do.

    Which rank did first, with which words, where in your code, with how much memory, and which ranks only followed. A
    run's name means its first experiment that failed. An experiment that did not fail says how it stands.
    """
    with connected() as api:
        document = _meant(api, experiment)
    name, state, reason = document["experiment"], document["state"], document["reason"]
    if settings().is_json:
        print_json({"experiment": name, "state": state, "reason": reason, "root_cause": document.get("root_cause")})
    elif state == "failed":
        click.echo("\n".join(failure_lines(document)))
    else:
        click.echo(f"{name} has not failed: {state}" + (f", {reason}" if reason else ""))


def _meant(api: Api, name: str) -> ExperimentRow:
    if split_experiment_name(name) is not None:
        return api.experiment(name)
    experiments = api.run(name)["experiments"]
    failed = next((e for e in experiments if e["state"] == "failed"), None)
    meant = failed or experiments[0]
    which = "its first that failed" if failed is not None else "its first; none has failed"
    note(f"{name} is a run; {meant['experiment']} is {which}")
    return meant
