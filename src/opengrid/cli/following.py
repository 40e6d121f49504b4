"""An experiment's log on stdout, byte for byte, for as long as it grows."""

from __future__ import annotations

import sys

from opengrid.cli.output import note
from opengrid.client.api import Api
from opengrid.client.http import Query
from opengrid.core.errors import ServerUnreachable

_ENDED = ("succeeded", "failed", "stopped")


def print_log(api: Api, experiment: str, query: Query) -> None:
    """Write what an experiment's log holds, or as it comes when the query says follow, to stdout."""
    out = sys.stdout.buffer
    with api.log(experiment, query) as blocks:
        for block in blocks:
            out.write(block)
            out.flush()


def follow_log(api: Api, experiment: str, query: Query) -> None:
    """Write a log as it grows until the experiment has ended. A server that goes away meanwhile is found again."""
    server, asked = api.server()["pid"], {**query, "follow": "true"}
    while True:
        try:
            print_log(api, experiment, asked)
            is_cut = False
        except ServerUnreachable:
            is_cut = True
        # A server that stops ends its answers in good order too; so the experiment's state tells what this end is.
        state, now = api.experiment(experiment)["state"], api.server()["pid"]
        if is_cut or now != server:
            note(f"the server was away for a moment; what was written meanwhile is in `grid logs -l 1000 {experiment}`")
        elif state in _ENDED:
            return
        server, asked["tail"] = now, 0
