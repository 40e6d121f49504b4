"""Wakes long polls and followers from any thread. Nothing is stored: a waiter looks at the store again when woken."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Generator
from typing import TypeVar

T = TypeVar("T")


class Wakeups:
    """Events by key, in the memory of the one active server."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self.is_closing = False

    def bind(self, loop: asyncio.AbstractEventLoop) -> None:
        """Say which loop the waiters live on."""
        self._loop = loop

    def notify(self, key: str) -> None:
        """Wake whoever waits for `key`. Callable from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._set, key)

    def close(self) -> None:
        """Wake everybody, for good: the server is shutting down."""
        self.is_closing = True
        for key in list(self._waiting):
            self._set(key)

    @contextlib.contextmanager
    def watching(self, *keys: str) -> Generator[asyncio.Event]:
        """Give an event that notify() of any of these keys sets."""
        event = asyncio.Event()
        for key in keys:
            self._waiting.setdefault(key, set()).add(event)
        try:
            yield event
        finally:
            for key in keys:
                self._waiting[key].discard(event)
                if not self._waiting[key]:
                    del self._waiting[key]

    async def poll(
        self, key: str, look: Callable[[], Awaitable[T]], *, until: Callable[[T], bool], timeout_s: float
    ) -> T:
        """Look again whenever `key` is notified, until `until` holds or the time is over; return the last look.

        Holds neither a thread nor a database connection while it waits.
        """
        deadline = time.monotonic() + timeout_s
        with self.watching(key) as event:
            while True:
                event.clear()  # before looking, so that a change between look and wait is not missed
                value = await look()
                left = deadline - time.monotonic()
                if until(value) or left <= 0 or self.is_closing:
                    return value
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(event.wait(), left)

    def _set(self, key: str) -> None:
        for event in self._waiting.get(key, ()):
            event.set()
