"""What a server does by itself, now and then: ends what nobody uses any more, at last itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog
from fastapi.concurrency import run_in_threadpool

log = structlog.get_logger(__name__)

#: When caches are looked through: the first time when the start is over.
_PRUNE_FIRST_S, _PRUNE_EVERY_S = 60.0, 3600.0


#: How often space is looked for that the database could reserve.
_RESERVE_EVERY_S = 60.0


class Prune(Protocol):
    """Removes what was not used for long."""

    def __call__(self, *, now_s: float) -> list[str]:
        """Return the names of the folders that are gone."""
        ...


async def finish_removals(finishes: Sequence[Callable[[], None]]) -> None:
    """Remove what servers before this one had deleted and not removed."""
    for finish in finishes:
        await run_in_threadpool(finish)


async def end_idle_boards(end_idle: Callable[[], None]) -> None:
    """End TensorBoards that nobody looks at any more."""
    while True:
        await asyncio.sleep(30.0)
        await run_in_threadpool(end_idle)


async def keep_reserve(renew: Callable[[], None]) -> None:
    """Reserve space for what frees space, again whenever some was given up."""
    while True:
        await asyncio.sleep(_RESERVE_EVERY_S)
        await run_in_threadpool(renew)


async def prune_caches(prunes: Sequence[Prune]) -> None:
    """Remove environments and repositories that nobody uses any more: soon after the start, then now and then."""
    await asyncio.sleep(_PRUNE_FIRST_S)
    while True:
        for prune in prunes:
            try:
                gone = await run_in_threadpool(prune, now_s=time.time())
                log.info("removed what was not used", folders=gone) if gone else None
            except Exception:  # the loop's edge: the next time may do better
                log.exception("cannot remove what is not used")
        await asyncio.sleep(_PRUNE_EVERY_S)


async def end_when_idle(
    idle_s: float, *, last_request: Callable[[], float], is_busy: Callable[[], bool], stop: Callable[[], None]
) -> None:
    """Stop a server for which nothing is left to do. Agents asking count as something to do."""
    while True:
        await asyncio.sleep(min(30.0, idle_s / 4))
        if time.monotonic() - last_request() > idle_s and not is_busy():
            stop()
            return
