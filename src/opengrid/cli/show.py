"""`grid status`, `grid history`, `grid instance-types`: what there is, as tables or JSON."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from opengrid.cli.completing import names_of
from opengrid.cli.experiment_view import print_experiment
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import (
    Column,
    duration_text,
    is_terminal,
    local_time,
    plural,
    print_json,
    print_table,
    seconds_between,
    settings,
    value_text,
)
from opengrid.client.api import Api
from opengrid.core.errors import InvalidValue
from opengrid.core.names import split_experiment_name

if TYPE_CHECKING:
    from opengrid.client.documents import ExperimentDocument, ExperimentRow, RunDocument, RunRow, RunsDocument

#: How often a watched screen is drawn again, for the durations on it; changes show at once.
_REDRAW_S = 2

_WAITING = ("queued", "building", "pending")


@click.command()
@click.argument("name", required=False, metavar="[RUN|EXPERIMENT]", shell_complete=names_of)
@click.option("-w", "--watch", is_flag=True, help="Keep looking; Ctrl-C ends it.")
@click.option("--global", "everybody", is_flag=True, help="Everybody's runs, with who made them.")
@click.option("--label", multiple=True, metavar="KEY[=VALUE]", help="Only runs with this label; may be repeated.")
@global_options
def status(name: str | None, *, watch: bool, everybody: bool, label: tuple[str, ...]) -> int:
    """Show active runs, a run's experiments, or one experiment."""
    if name is not None and label:
        raise InvalidValue("--label chooses among runs, and one is named", hint="leave one of them out")
    if watch and settings().is_json:
        raise InvalidValue("--watch draws a screen, -o json prints one document", hint="choose one of them")
    with connected() as api:
        if watch:
            return _watch(api, name, label, everybody=everybody)
        if name is None:
            _show_active(api.all_runs(active=True, mine=not everybody, labels=label), everybody=everybody)
        elif split_experiment_name(name) is not None:
            _show_experiment(api.experiment(name))
        else:
            _show_run(api.run(name))
    return 0


@click.command()
@click.option("--global", "everybody", is_flag=True, help="Everybody's runs, with who made them.")
@click.option("--label", multiple=True, metavar="KEY[=VALUE]", help="Only runs with this label; may be repeated.")
@global_options
def history(*, everybody: bool, label: tuple[str, ...]) -> None:
    """Show all runs, newest first."""
    with connected() as api:
        document = api.all_runs(mine=not everybody, labels=label)
    if settings().is_json:
        print_json({"runs": document["runs"]})
        return
    columns = [
        Column(title="Run", may_wrap=True),
        Column(title="Created At"),
        Column(title="Experiments", is_number=True),
        Column(title="Failed", is_number=True),
        Column(title="Stopped", is_number=True),
        Column(title="Completed", is_number=True),
        *_extra_columns(document, everybody=everybody),
    ]
    rows = [
        [
            row["run"],
            local_time(row["created_at"]),
            *(str(row[key]) for key in ("experiments", "failed", "stopped", "completed")),
            *_extra_cells(document, row, everybody=everybody),
        ]
        for row in document["runs"]
    ]
    if rows:
        print_table(columns, rows)
    else:
        click.echo("no run has these labels" if label else "no runs yet: `grid run SCRIPT` makes one")


def _extra_columns(document: RunsDocument, *, everybody: bool) -> list[Column]:
    has_labels = any(row["labels"] for row in document["runs"])
    return [
        *([Column(title="Labels", may_wrap=True)] if has_labels else []),
        *([Column(title="Created By")] if everybody else []),
    ]


def _extra_cells(document: RunsDocument, row: RunRow, *, everybody: bool) -> list[str]:
    has_labels = any(other["labels"] for other in document["runs"])
    labels = " ".join(f"{key}={value}" for key, value in row["labels"].items())
    return [*([labels or "-"] if has_labels else []), *([row["user"]] if everybody else [])]


@click.command("instance-types")
@global_options
def instance_types() -> None:
    """Show the types of machines."""
    with connected() as api:
        types = api.instance_types()
    if settings().is_json:
        print_json({"instance_types": types})
        return
    columns = [
        Column(title="Type", may_wrap=True),
        Column(title="Cloud Name", may_wrap=True),
        Column(title="On-Demand $/h", short="$/h", is_number=True),
        Column(title="Spot $/h", short="Spot", is_number=True),
        Column(title="CPU", is_number=True),
        Column(title="GPU", is_number=True),
        Column(title="Memory", is_number=True),
        Column(title="Accelerator", may_wrap=True),
    ]
    rows = [
        [
            row["name"],
            row["cloud"],
            _price(row["on_demand"]),
            _price(row["spot"]),
            str(row["cpus"]),
            str(row["gpus"]),
            f"{row['memory_gb']:g} GB",
            row["accelerator"] or "-",
        ]
        for row in types
    ]
    print_table(columns, rows)


def _price(dollars: float | None) -> str:
    return "-" if dollars is None else f"{dollars:.2f}"


def _watch(api: Api, name: str | None, labels: Sequence[str], *, everybody: bool) -> int:
    try:
        for draw in _screens(api, name, labels, everybody=everybody):
            if is_terminal():
                click.echo("\x1b[H\x1b[2J", nl=False, color=True)
            draw()
            if not is_terminal():
                click.echo()
    except KeyboardInterrupt:
        return 130
    return 0


def _screens(api: Api, name: str | None, labels: Sequence[str], *, everybody: bool) -> Iterator[Callable[[], None]]:
    """Yield what to draw, again and again; end when what is watched has ended."""
    if name is None:
        while True:
            yield partial(
                _show_active, api.all_runs(active=True, mine=not everybody, labels=labels), everybody=everybody
            )
            time.sleep(_REDRAW_S)
    experiment_of = split_experiment_name(name)
    if experiment_of is None:
        for document in api.watch_run(name, "ended", redraw_s=_REDRAW_S):
            yield partial(_show_run, document)
        return
    for _ in api.watch_run(experiment_of[0], "ended", redraw_s=_REDRAW_S):
        experiment = api.experiment(name)
        yield partial(_show_experiment, experiment)
        if experiment["ended_at"] is not None:
            return


def _show_active(document: RunsDocument, *, everybody: bool) -> None:
    if settings().is_json:
        print_json({"runs": document["runs"]})
        return
    counts = ("experiments", "running", "queued", "completed", "failed", "stopped")
    columns = [
        Column(title="Run", may_wrap=True),
        Column(title="Status"),
        Column(title="Duration"),
        Column(title="Experiments", short="Exps", is_number=True),
        Column(title="Running", short="Run", is_number=True),
        Column(title="Queued", short="Queue", is_number=True),
        Column(title="Completed", short="Compl", is_number=True),
        Column(title="Failed", short="Fail", is_number=True),
        Column(title="Stopped", short="Stop", is_number=True),
        *_extra_columns(document, everybody=everybody),
    ]
    rows = [
        [
            row["run"],
            _run_state(row),
            duration_text(seconds_between(row["created_at"], None)),
            *(str(row[key]) for key in counts),
            *_extra_cells(document, row, everybody=everybody),
        ]
        for row in document["runs"]
    ]
    if rows:
        print_table(columns, rows)
    else:
        click.echo("no active runs")
    if document["not_active"]:
        click.echo(f"\n{plural(document['not_active'], 'run')} not active: `grid history`")


def _run_state(row: RunRow) -> str:
    return "running" if row["running"] else "queued"


def _show_run(document: RunDocument) -> None:
    experiments = document["experiments"]
    if settings().is_json:
        print_json({"run": document["run"], "experiments": experiments})
        return
    names = list(dict.fromkeys(name for experiment in experiments for name in experiment["params"]))
    columns = [
        Column(title="Experiment", may_wrap=True),
        Column(title="Command", may_wrap=True),
        Column(title="Status"),
        Column(title="Queued Duration", short="Queued"),
        Column(title="Run Duration", short="Run"),
        *(Column(title=name, may_wrap=True) for name in names),
    ]
    print_table(columns, [_experiment_row(experiment, names) for experiment in experiments])
    for experiment in experiments:
        if experiment["reason"] and experiment["state"] in (*_WAITING, "failed"):
            click.echo(f"\n{experiment['experiment']} {experiment['state']}: {experiment['reason']}")


def _experiment_row(experiment: ExperimentRow, names: list[str]) -> list[str]:
    started, ended = experiment["started_at"], experiment["ended_at"]
    params = experiment["params"]
    return [
        experiment["experiment"],
        experiment["command"],
        experiment["state"],
        duration_text(seconds_between(experiment["created_at"], started or ended)),
        duration_text(seconds_between(started, ended)),
        *(value_text(params[name]) if name in params else "-" for name in names),
    ]


def _show_experiment(experiment: ExperimentDocument) -> None:
    if settings().is_json:
        print_json(experiment)
    else:
        print_experiment(experiment)
