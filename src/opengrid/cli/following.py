"""An experiment's log on stdout, byte for byte, for as long as it grows."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from opengrid.cli.output import note
from opengrid.client.api import Api
from opengrid.client.following import followed_blocks, log_blocks
from opengrid.client.http import Query


def print_log(api: Api, experiment: str, query: Query) -> None:
    """Write what an experiment's log holds to stdout."""
    _print(log_blocks(api, experiment, query))


def follow_log(api: Api, experiment: str, query: Query) -> None:
    """Write a log as it grows until the experiment has ended. A server that goes away meanwhile is found again."""
    text = f"the server was away for a moment; what was written meanwhile is in `grid logs -l 1000 {experiment}`"
    _print(followed_blocks(api, experiment, query, was_away=lambda: note(text)))


def _print(blocks: Iterator[bytes]) -> None:
    for block in blocks:
        sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
