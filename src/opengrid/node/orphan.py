"""When a machine that the server has lost sight of gives up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanLimits:
    """How long an agent goes on without its server."""

    away_s: float = 24 * 3600.0  #: in all
    stuck_s: float = 600.0  #: while its ranks make no progress
    leaving_s: float = 3.0  #: when this machine goes away: a server that is being restarted is back by then


class Verdict(Enum):
    """What an agent without a server does."""

    GO_ON = "go_on"
    END_RANKS = "end_ranks"  #: they make no progress, or the machine goes away; what they left is kept for the server
    GIVE_UP = "give_up"  #: end the ranks and itself


#: Less processor time than this share of the time that passed is the ticking of a hung process, no progress.
_PROGRESS_SHARE = 0.01


class OrphanWatch:
    """Watches whether ranks progress while the server is away."""

    def __init__(self, limits: OrphanLimits) -> None:
        self._limits = limits
        self._seen: tuple[float, int, float] | None = None  #: time, log bytes, processor seconds
        self._progress_at = 0.0

    def judge(
        self,
        *,
        now: float,
        away_since: float | None,
        living: int,
        log_bytes: int,
        cpu_s: float,
        is_homeless: bool = False,
        leaving_since: float | None = None,
    ) -> Verdict:
        """Return what to do, given how much the ranks have written and computed so far. Call it every few seconds.

        `is_homeless` says that the server's folder is gone for good, `leaving_since` when we heard that this machine
        goes away.
        """
        if away_since is None:
            self._seen = None
            return Verdict.GO_ON
        if self._seen is None:
            self._progress_at = now
        else:
            then, bytes_then, cpu_then = self._seen
            if log_bytes > bytes_then or cpu_s - cpu_then > _PROGRESS_SHARE * (now - then):
                self._progress_at = now
        self._seen = (now, log_bytes, cpu_s)
        if is_homeless or now - away_since >= self._limits.away_s:
            return Verdict.GIVE_UP
        if leaving_since is not None and now - max(away_since, leaving_since) >= self._limits.leaving_s:
            return Verdict.END_RANKS if living else Verdict.GIVE_UP
        if living and now - self._progress_at >= self._limits.stuck_s:
            return Verdict.END_RANKS
        return Verdict.GO_ON
