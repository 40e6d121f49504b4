"""One experiment on one screen: what it is, where it stands, what happened, and why it failed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from opengrid.cli.failure import failure_lines
from opengrid.cli.output import (
    Column,
    bold,
    colour,
    duration_text,
    local_time,
    plural,
    print_table,
    seconds_between,
)

if TYPE_CHECKING:
    from opengrid.client.documents import EventDocument, ExperimentDocument, StartDocument


def print_experiment(experiment: ExperimentDocument) -> None:
    """Print everything about one experiment."""
    state = experiment["state"]
    shown = f"{state}, stopping" if experiment.get("stopping") else state
    reason = f": {experiment['reason']}" if experiment["reason"] and state != "failed" else ""
    for title, text in (
        ("experiment", bold(experiment["experiment"])),
        ("status", colour(shown, state) + reason),
        ("command", experiment["command"]),
        ("code", experiment["source"]["line"]),
        *(("data", text) for text in _data(experiment)),
        ("machines", _machines(experiment)),
        ("nodes", _nodes(experiment)),
        ("created", local_time(experiment["created_at"])),
        ("queued", duration_text(_queued(experiment))),
        ("ran", duration_text(seconds_between(experiment["started_at"], experiment["ended_at"]))),
        ("cost", f"${experiment['cost']:.2f}"),
        ("folder", experiment.get("work_dir") or "-"),
    ):
        click.echo(f"{title:<10}  {text}")
    for machine in experiment.get("unreachable", []):
        since = local_time(machine["since"])
        click.echo(f"machine {machine['machine']} is unreachable since {since}; it is not gone, so nothing replaces it")
        click.echo(f"(`grid stop --force {experiment['experiment']}` gives it up)")
    if state == "failed":
        click.echo("\n" + "\n".join(failure_lines(experiment)))
    starts = experiment.get("starts", [])
    if len(starts) > 1:
        click.echo()
        columns = [
            Column(title="Start"),
            Column(title="Began"),
            Column(title="Ran", is_number=True),
            Column(title="Steps", is_number=True),
            Column(title="Lost", is_number=True),
            Column(title="From", may_wrap=True),
            Column(title="Why It Ended", may_wrap=True),
        ]
        print_table(columns, [_start_row(start) for start in starts])
    events = experiment.get("events", [])
    if events:
        click.echo()
        columns = [Column(title="Time"), Column(title="Event"), Column(title="Reason", may_wrap=True)]
        print_table(columns, [_event_row(event) for event in events])


def _machines(experiment: ExperimentDocument) -> str:
    cluster = experiment.get("cluster", "local")
    owner = "this computer" if cluster == "local" else cluster
    kind = owner if experiment["instance_type"] == "local" else experiment["instance_type"]
    devices = f" (on {used})" if (used := experiment.get("devices")) else ""
    simulated = " (SIMULATED on CPUs)" if experiment["simulated"] else ""
    place = f" of {cluster}" if cluster != "local" and kind != cluster else ""
    return f"{experiment['machines']} × {kind}{place}{devices}{simulated}"


def _data(experiment: ExperimentDocument) -> list[str]:
    """Return what references to datastores became."""
    arguments = experiment["arguments"]
    return [f"{a['typed']} is {a['resolved']}" for a in arguments if a["typed"] != a["resolved"]]


def _nodes(experiment: ExperimentDocument) -> str:
    gpus = experiment.get("gpus_per_node", 0)
    share = f" × {plural(gpus, 'GPU')}" if gpus else ""
    return f"{experiment['nodes']}{share}, {plural(experiment['world_size'], 'rank')} in all"


def _queued(experiment: ExperimentDocument) -> float | None:
    return seconds_between(experiment["created_at"], experiment["started_at"] or experiment["ended_at"])


def _start_row(start: StartDocument) -> list[str]:
    first, last = start["first_step"], start["last_step"]
    return [
        f"{start['attempt']}.{start['generation']}",
        local_time(start["started_at"]).partition(" ")[2] or "-",
        duration_text(seconds_between(start["started_at"], start["ended_at"])),
        f"{first}-{last}" if last is not None else "-",
        _lost_text(start),
        start["resumed_from"] or ("the beginning" if start["started_at"] is not None else "-"),
        start["cause"] or "-",
    ]


def _lost_text(start: StartDocument) -> str:
    seconds, steps = start["lost_s"], start["lost_steps"]
    told = [f"{seconds:.1f} s" if seconds is not None else "", plural(steps, "step") if steps is not None else ""]
    return ", ".join(filter(None, told)) or "-"


def _event_row(event: EventDocument) -> list[str]:
    before, after = event["from"], event["to"]
    what = event["kind"]
    if after is not None:
        what = f"{before} → {after}" if before else after
    return [local_time(event["at"]).partition(" ")[2] or "-", what, event["reason"]]
