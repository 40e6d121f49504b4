"""Which files of a work folder are new and settled: decided from what scans find, without touching a disk."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import NamedTuple

#: A file whose size and time have not changed for so long is taken to be complete.
SETTLE_S = 2.0

#: While ranks run, what could not be saved is tried again after this long at first, twice that the next time, …
_RETRY_S, _LONGEST_RETRY_S = 5.0, 300.0


class Version(NamedTuple):
    """What tells one content of a file from another without reading it."""

    size: int
    modified_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class _Trouble:
    version: Version
    reason: str
    tries: int
    again_at: float


class Settling:
    """One work folder's files, from scan to scan. Paths are relative to it."""

    def __init__(self, before: frozenset[str], settle_s: float = SETTLE_S) -> None:
        self._before, self._settle_s = before, settle_s
        self._since: dict[str, tuple[Version, float]] = {}
        self._saved: dict[str, Version] = {}
        self._troubles: dict[str, _Trouble] = {}
        self._is_final = False

    def due(
        self, found: Mapping[str, Version], now: float, *, closed: Collection[str] = (), final: bool = False
    ) -> list[str]:
        """Return the files to save now, sorted: new or changed, and settled. In the end everything is settled.

        A new file of `closed` is settled too: nobody writes it any more. One that was saved before and is written again
        must be still for a while, because a log that is opened for every line would be saved with each of them.
        """
        since = {path: self._seen(path, version, now) for path, version in found.items() if self._is_new(path, version)}
        self._since = since
        if not self._is_final:  # a temporary name that is gone is nobody's loss; what vanishes after the ranks is
            self._troubles = {path: trouble for path, trouble in self._troubles.items() if path in since}
        self._is_final = final
        return sorted(path for path in since if final or self._is_due(path, now, is_closed=path in closed))

    def save(self, path: str, version: Version) -> None:
        """Remember that this version of a file is safe."""
        self._saved[path] = version
        self._troubles.pop(path, None)

    def fail(self, path: str, reason: str, now: float) -> None:
        """Remember that a file that was due could not be saved; it is tried again later."""
        version, _ = self._since[path]
        known = self._troubles.get(path)
        tries = known.tries + 1 if known is not None else 1
        wait_s = min(_LONGEST_RETRY_S, _RETRY_S * 2 ** min(tries - 1, 10))
        self._troubles[path] = _Trouble(version, reason, tries, now + wait_s)

    @property
    def troubles(self) -> dict[str, str]:
        """Files that could not be saved so far, with the reason."""
        return {path: trouble.reason for path, trouble in self._troubles.items()}

    def _is_new(self, path: str, version: Version) -> bool:
        return path not in self._before and self._saved.get(path) != version

    def _seen(self, path: str, version: Version, now: float) -> tuple[Version, float]:
        known = self._since.get(path)
        return known if known is not None and known[0] == version else (version, now)

    def _is_due(self, path: str, now: float, *, is_closed: bool) -> bool:
        version, since = self._since[path]
        trouble = self._troubles.get(path)
        if trouble is not None and trouble.version == version and now < trouble.again_at:
            return False
        return now - since >= self._settle_s or (is_closed and path not in self._saved)
