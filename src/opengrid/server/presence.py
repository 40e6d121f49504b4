"""What a server says of itself in its home, and how it notices that nobody can find it there any more."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from opengrid.core.gone import GONE_S, GoneWatch, missing_one
from opengrid.server.settings import Settings

log = structlog.get_logger(__name__)

_LOOK_S = 5.0


class Presence:
    """A server's server.json."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.server_file
        # Files that are made once: the folders may be made again by what works on meanwhile.
        self._kept = settings.token_file, settings.secret_file
        self._said = ""

    def announce(self, about: Mapping[str, object]) -> None:
        """Write server.json, whole, as the sign that the server is ready."""
        self._said = json.dumps(about)
        write_private(self._file, self._said)

    def withdraw(self) -> None:
        """Stop telling where the server is. What another one has written there stays."""
        if not self._is_anothers():
            self._file.unlink(missing_ok=True)

    async def end_when_gone(self, stop: Callable[[], None], *, look_s: float = _LOOK_S, gone_s: float = GONE_S) -> None:
        """Call `stop` once the home or the state folder is gone, or another server is the home's."""
        watch = GoneWatch(self._missing, gone_s)
        while True:
            await asyncio.sleep(look_s)
            missing = watch.look(time.monotonic())
            if missing is not None:
                log.error("nobody can find this server any more: ending", missing=missing)
                stop()
                return

    def _missing(self) -> str | None:
        return f"{self._file} of this server" if self._is_anothers() else missing_one(self._kept)

    def _is_anothers(self) -> bool:
        try:
            return self._file.read_text() != self._said
        except OSError:
            return False


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.unlink(missing_ok=True)
    with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    os.replace(partial, path)
