"""`grid logs`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from opengrid.cli.completing import names_of
from opengrid.cli.following import follow_log, print_log
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import note, print_json, settings, tell
from opengrid.client.api import Api
from opengrid.core.names import experiment_name, split_experiment_name

if TYPE_CHECKING:
    from opengrid.client.documents import ExperimentDocument

_ENDED = ("succeeded", "failed", "stopped")

#: How often the log of a build is looked at.
_LOOK_S = 0.3

#: What is shown of a finished experiment unless more is asked for.
_LAST_LINES = 100


@click.command()
@click.argument("experiment", shell_complete=names_of)
@click.option("--rank", type=int, help="Only this rank, byte for byte as it wrote.")
@click.option("-t", "--times", is_flag=True, help="When each line was written (UTC).")
@click.option(
    "-f/-F", "--follow/--no_follow", default=None, help="Go on until the experiment ends [default: while it runs]."
)
@click.option("-l", "--tail-lines", type=click.IntRange(min=0), help="Only the last N lines.")
@click.option("--attempt", type=int, help="Of this attempt [default: the newest].")
@click.option("--generation", type=int, help="Of this generation [default: all].")
@click.option("--show-build-logs", is_flag=True, help="What the making of its environment wrote, instead.")
@global_options
def logs(
    experiment: str,
    *,
    rank: int | None,
    times: bool,
    follow: bool | None,
    tail_lines: int | None,
    attempt: int | None,
    generation: int | None,
    show_build_logs: bool,
) -> int:
    """Show what an experiment's ranks wrote.

    All ranks together, each line with its rank, or one rank alone. A running experiment is followed unless -l is
    given; of a finished one the last 100 lines are shown unless -l says otherwise. After restarts, all generations of
    the newest attempt are shown in order. A run's name means its first experiment. Ctrl-C while following leaves the
    experiment alone.
    """
    name = experiment_of(experiment)
    query: dict[str, str | int | None] = {
        "rank": rank,
        "attempt": attempt,
        "generation": generation,
        "tail": tail_lines,
        "times": str(times).lower(),
        "prefix": str(rank is None).lower(),
        "headings": "true" if rank is None and sys.stdout.isatty() else None,
    }
    with connected() as api:
        if show_build_logs:
            return _show_build_log(api, name, follow=follow is not False and tail_lines is None, tail_lines=tail_lines)
        if settings().is_json:
            query["tail"] = _LAST_LINES if tail_lines is None else tail_lines
            print_json(api.log_lines(name, query))
            return 0
        experiment_now = api.experiment(name)
        state = experiment_now["state"]
        if follow or (follow is None and tail_lines is None and state not in _ENDED):
            return _follow(api, name, state, query)
        if tail_lines is None:
            query["tail"] = _LAST_LINES
        print_log(api, name, query)
        if state == "failed":
            _tell_end(experiment_now)
    return 0


def _show_build_log(api: Api, name: str, *, follow: bool, tail_lines: int | None) -> int:
    """Print the log of the making of an environment; with `follow` for as long as that goes on."""
    is_json, content = settings().is_json, b""
    while True:
        is_building = api.experiment(name)["state"] in ("queued", "building")
        new = api.build_log(name, len(content))
        content += new
        if follow and not is_json:
            sys.stdout.buffer.write(new)
            sys.stdout.buffer.flush()
        if not (follow and is_building and not is_json):
            break
        time.sleep(_LOOK_S)
    lines = content.decode(errors="replace").splitlines()
    chosen = lines if tail_lines is None else lines[len(lines) - min(tail_lines, len(lines)) :]
    if is_json:
        print_json({"experiment": name, "lines": chosen})
    elif not follow:
        click.echo("\n".join(chosen), nl=bool(chosen))
    if not content and not is_json:
        tell(f"nothing was built for {name}: its interpreter has what it needs")
    return 0


def experiment_of(name: str) -> str:
    """Return the experiment that a name means; a run's name means its first, which is said on stderr."""
    if split_experiment_name(name) is not None:
        return name
    first = experiment_name(name, 0)
    note(f"{name} is a run; this is {first}")
    return first


def _follow(api: Api, name: str, state: str, query: dict[str, str | int | None]) -> int:
    if state in ("queued", "building", "pending"):
        reason = api.experiment(name)["reason"]
        tell(f"{name} is {state}" + (f": {reason}" if reason else ""))
    try:
        follow_log(api, name, query)
    except KeyboardInterrupt:
        tell(f"\nnot following any more; {name} goes on (`grid stop experiment {name}` ends it)")
        return 130
    _tell_end(api.experiment(name))
    return 0


def _tell_end(experiment: ExperimentDocument) -> None:
    name, state, reason = experiment["experiment"], experiment["state"], experiment["reason"]
    tell(f"{name} {state}" + (f": {reason}" if reason else ""))
    if state == "failed":
        tell(f"more about that: grid why {name}")
