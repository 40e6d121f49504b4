"""What the one active server remembers of agents, so that their polls cost no database; any thread may ask.

Of an attempt that has ended it is kept for a while, so that who is late cannot bring back an older state, and then
forgotten.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from opengrid.core.records.attempts import Attempt

#: So many attempts that have ended are remembered.
KEPT_ENDED = 1000

#: Of so many messages of a machine the fastest one tells how its clock differs from ours.
_SKEWS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentIdentity:
    """Whom a session secret belongs to."""

    attempt_id: str
    machine: int


@dataclass(slots=True)
class _OfAttempt:
    """What is remembered of one attempt; the rest by machine."""

    newest: Attempt | None = None
    grace_s: float | None = None
    sessions: dict[int, str] = field(default_factory=dict[int, str])  #: hash of the newest agent's session
    heard_us: dict[int, int] = field(default_factory=dict[int, int])  #: when its agent last said anything
    skews: dict[int, deque[int]] = field(default_factory=dict[int, "deque[int]"])  #: our clock less its


class AgentMemory:
    """Sessions, and how each attempt stands."""

    def __init__(self, kept_ended: int = KEPT_ENDED) -> None:
        self._kept_ended = kept_ended
        self._whose: dict[str, AgentIdentity] = {}  #: by the hash of a session
        self._attempts: dict[str, _OfAttempt] = {}
        self._ended: deque[str] = deque()
        self._lock = threading.Lock()

    def whose(self, session_hash: str, find: Callable[[], AgentIdentity]) -> AgentIdentity:
        """Return whom a session belongs to; `find` reads it when it is not remembered."""
        known = self._whose.get(session_hash)
        if known is None:
            known = find()
            self.remember_session(session_hash, known)
        return known

    def remember_session(self, session_hash: str, agent: AgentIdentity) -> None:
        """Take in an agent's session; that of the agent which it replaces is forgotten."""
        with self._lock:
            sessions = self._of(agent.attempt_id).sessions
            older = sessions.get(agent.machine)
            if older is not None and older != session_hash:
                self._whose.pop(older, None)
                self._of(agent.attempt_id).skews.pop(agent.machine, None)  # perhaps another host
            sessions[agent.machine], self._whose[session_hash] = session_hash, agent

    def heard(self, agent: AgentIdentity, now_us: int) -> None:
        """Take down that an agent has said something."""
        with self._lock:
            self._of(agent.attempt_id).heard_us[agent.machine] = now_us

    def heard_us(self, attempt_id: str) -> dict[int, int]:
        """Return when each machine's agent last said anything."""
        with self._lock:
            known = self._attempts.get(attempt_id)
            return {} if known is None else dict(known.heard_us)

    def skew_ns(self, agent: AgentIdentity, seen_ns: int) -> int:
        """Return how far a machine's clock is behind ours, with one more message's difference.

        Messages take time, so the least of the last counts.
        """
        with self._lock:
            seen = self._of(agent.attempt_id).skews.setdefault(agent.machine, deque(maxlen=_SKEWS))
            seen.append(seen_ns)
            return min(seen)

    def attempt_moved(self, attempt: Attempt) -> Attempt:
        """Take in how an attempt stands; return the newest that is known of it.

        Only one server moves attempts, so what it moved is what there is.
        """
        with self._lock:
            of = self._of(attempt.id)
            newest = of.newest
            if newest is None or attempt.version > newest.version:
                newest = of.newest = attempt
                if attempt.state.is_terminal:
                    self._ended.append(attempt.id)
            while len(self._ended) > self._kept_ended:
                self._forget(self._ended.popleft())
        return newest

    def remember_grace(self, attempt_id: str, grace_s: float) -> None:
        """Take in how long an attempt's ranks are given to end."""
        with self._lock:
            self._of(attempt_id).grace_s = grace_s

    def standing(self, attempt_id: str) -> tuple[Attempt, float] | None:
        """Return how an attempt stands, with its grace; None when that must be read."""
        with self._lock:
            known = self._attempts.get(attempt_id)
        if known is None or known.newest is None or known.grace_s is None:
            return None
        return known.newest, known.grace_s

    def _of(self, attempt_id: str) -> _OfAttempt:
        return self._attempts.setdefault(attempt_id, _OfAttempt())

    def _forget(self, attempt_id: str) -> None:
        known = self._attempts.pop(attempt_id, None)
        for session_hash in known.sessions.values() if known is not None else ():
            self._whose.pop(session_hash, None)
