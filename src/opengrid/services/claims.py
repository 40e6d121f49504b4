"""Which machine of a gang brings a content that several have: one sends it, the others wait for that."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

#: A machine of which nothing was heard for so long does not bring what it was to bring.
PATIENCE_S = 15.0


class Claims:
    """Kept in memory alone: after a restart of the server some content may come twice, which is harmless."""

    def __init__(self, *, clock: Callable[[], float]) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._claims: dict[str, dict[str, int]] = {}  #: by attempt and content: the machine
        self._seen: dict[tuple[str, int], float] = {}  #: when a machine of an attempt was heard of

    def claim(self, attempt: str, machine: int, digests: Collection[str]) -> set[str]:
        """Give a machine what it shall bring; return those of the contents that another one brings already.

        What it was to bring before and does not offer any more is everybody's again: it could not.
        """
        with self._lock:
            now = self._clock()
            self._seen[attempt, machine] = now
            claims = {
                digest: claimant
                for digest, claimant in self._claims.get(attempt, {}).items()
                if claimant != machine or digest in digests
            }
            self._claims[attempt] = claims
            others = {digest for digest in digests if self._is_others(attempt, claims.get(digest), machine, now)}
            claims.update({digest: machine for digest in digests if digest not in others})
            return others

    def heard(self, attempt: str, machine: int) -> None:
        """Note that a machine goes on bringing."""
        with self._lock:
            if (attempt, machine) in self._seen:
                self._seen[attempt, machine] = self._clock()

    def settle(self, attempt: str, digests: Collection[str]) -> None:
        """Forget who was to bring contents that are here."""
        with self._lock:
            claims = self._claims.get(attempt, {})
            for digest in digests:
                claims.pop(digest, None)

    def forget(self, attempt: str) -> None:
        """Forget an attempt that is over."""
        with self._lock:
            self._claims.pop(attempt, None)
            self._seen = {key: at for key, at in self._seen.items() if key[0] != attempt}

    def _is_others(self, attempt: str, claimant: int | None, machine: int, now: float) -> bool:
        if claimant is None or claimant == machine:
            return False
        return now - self._seen.get((attempt, claimant), -PATIENCE_S) < PATIENCE_S
