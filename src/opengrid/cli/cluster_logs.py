"""`grid clusters logs`: what the engine itself wrote on the machines of a cluster."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from opengrid.cli.options import connected, global_options
from opengrid.cli.output import note, print_json, settings
from opengrid.client.api import Api
from opengrid.core.errors import InvalidValue

if TYPE_CHECKING:
    from opengrid.client.documents import ClusterLogLine

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

#: How often --tail looks, and at how many of the newest lines: all that the server gives.
_LOOK_S, _MOST = 2.0, 5000


@click.command()
@click.argument("name")
@click.option("--tail", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--from", "since", metavar="TIME", help="Begin there: 2026-11-25T19:00, or 30m, 2h, 3d ago.")
@click.option("--to", "until", metavar="TIME", help="End there.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, _MOST), default=200, show_default=True, help="Newest lines."
)
@global_options
def logs(name: str, *, tail: bool, since: str | None, until: str | None, limit: int) -> None:
    """Show what Ray itself wrote on the machines of a cluster, merged by time.

    What scripts write is in `grid logs EXPERIMENT`.
    """
    if tail and (until or settings().is_json):
        raise InvalidValue("--tail has no end", hint="leave --to and -o json out, or --tail")
    now = time.time()
    query = {"limit": str(_MOST if tail else limit)}
    if since is not None:
        query["since_us"] = str(parse_time(since, now))
    if until is not None:
        query["until_us"] = str(parse_time(until, now))
    with connected() as api:
        answer = api.cluster_logs(name, query)
        if settings().is_json:
            print_json(answer)
            return
        for problem in answer["problems"]:
            note(f"{problem['host']} cannot be asked: {problem['problem']}")
        _print(answer["lines"][-limit:])
        if tail:
            _follow(api, name, query, answer["lines"])


def parse_time(text: str, now: float) -> int:
    """Return a point in time, in the zone of this computer, or so long before `now`, as microseconds."""
    found = re.fullmatch(r"(\d+)\s*([smhd])(?:\s*ago)?", text.strip())
    if found is not None:
        return int((now - int(found[1]) * _UNITS[found[2]]) * 1e6)
    try:
        return int(datetime.fromisoformat(text.strip().replace("Z", "+00:00")).astimezone().timestamp() * 1e6)
    except ValueError:
        raise InvalidValue(f"{text!r} is no time", hint="2026-11-25T19:00, or 30m, 2h, 3d") from None


def _follow(api: Api, name: str, query: dict[str, str], seen: list[ClusterLogLine]) -> None:
    """Print what is new; a host that could not be asked for a while does not begin again."""
    known = {_key(line) for line in seen}
    while True:
        time.sleep(_LOOK_S)
        lines = api.cluster_logs(name, query)["lines"]
        _print([line for line in lines if _key(line) not in known])
        known.update(map(_key, lines))


def _print(lines: list[ClusterLogLine]) -> None:
    for line in lines:
        click.echo(f"{line['host']} {line['file']}: {line['text']}")


def _key(line: ClusterLogLine) -> tuple[str, str, str | None, str]:
    return line["host"], line["file"], line["at"], line["text"]
