"""An experiment's log for as long as it grows, over restarts of the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from opengrid.client.api import Api
from opengrid.client.http import Query
from opengrid.core.errors import ServerUnreachable

_ENDED = ("succeeded", "failed", "stopped")


def log_blocks(api: Api, experiment: str, query: Query) -> Iterator[bytes]:
    """Yield what an experiment's log holds, or as it comes when the query says follow."""
    with api.log(experiment, query) as blocks:
        yield from blocks


def followed_blocks(api: Api, experiment: str, query: Query, *, was_away: Callable[[], object]) -> Iterator[bytes]:
    """Yield a log as it grows until the experiment has ended. A server that goes away meanwhile is found again.

    `was_away` is called when that has happened: what was written meanwhile is not yielded.
    """
    server, asked = api.server()["pid"], {**query, "follow": "true"}
    while True:
        try:
            yield from log_blocks(api, experiment, asked)
            is_cut = False
        except ServerUnreachable:
            is_cut = True
        # A server that stops ends its answers in good order too; so the experiment's state tells what this end is.
        state, now = api.experiment(experiment)["state"], api.server()["pid"]
        if is_cut or now != server:
            was_away()
        elif state in _ENDED:
            return
        server, asked["tail"] = now, 0
