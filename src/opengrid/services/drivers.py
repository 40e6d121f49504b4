"""What the drivers of gangs inside clusters ask of the server: orders, and where they may leave their reports."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from opengrid.core.errors import Superseded, Unauthorized
from opengrid.core.protocol import GangOrders, GangReport
from opengrid.core.records.attempts import Attempt, AttemptState, MachineState
from opengrid.core.tokens import attempt_token, matches, token_hash
from opengrid.engines.engine import Engines
from opengrid.services.attempts import open_attempt
from opengrid.store.database import Database

#: Whoever claims to be a driver and is not known may have the cluster asked this often for each attempt.
_ASK_AGAIN_S = 0.3

#: Agents that a driver starts now have so long to say hello.
_TOKEN_LIFE_US = 10 * 60 * 1_000_000


@runtime_checkable
class DrivenEngine(Protocol):
    """An engine that has its gangs driven inside the cluster."""

    def is_driver(self, attempt_id: str, secret_hash: str) -> bool:
        """Return whether who has this secret drives an attempt; may ask the cluster."""
        ...

    def starts(self, attempt_id: str, machines: int) -> tuple[int, ...]:
        """Return how often the agent of each machine shall have been started."""
        ...

    def has_report(self, attempt_id: str) -> bool:
        """Return whether a gang's report has come since this server started."""
        ...

    def take_report(self, attempt_id: str, report: GangReport) -> None:
        """Take in how a gang stands."""
        ...


class Drivers:
    """The server's side of inside/driver.py. `changed` hears of attempts with a new report."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        *,
        secret: str,
        changed: Callable[[str], None],
        now_us: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._engines, self._secret = database, engines, secret
        self._changed, self._now_us, self._clock = changed, now_us, clock
        self._known: dict[str, str] = {}  #: attempt → hash of its driver's secret
        self._ask_at: dict[str, float] = {}

    def identify(self, attempt_id: str, secret: str) -> None:
        """Let the driver of an attempt pass; Superseded when the attempt does not exist any more. May ask the cluster.

        Unauthorized also while the cluster does not show the driver's log yet: drivers try again.
        """
        if matches(secret, self._known.get(attempt_id)):
            return
        engine = self._engine(self._attempt(attempt_id))
        if self._clock() < self._ask_at.get(attempt_id, 0.0):
            raise Unauthorized("this driver is not known yet")
        self._ask_at[attempt_id] = self._clock() + _ASK_AGAIN_S
        hashed = token_hash(secret)
        if not engine.is_driver(attempt_id, hashed):
            raise Unauthorized("this driver is not known yet")
        self._known[attempt_id] = hashed
        self._ask_at.pop(attempt_id, None)

    def orders(self, attempt_id: str) -> GangOrders:
        """Return what a driver shall do; Superseded when its attempt is over."""
        attempt = self._attempt(attempt_id)
        with self._database.read() as tx:
            machines = len(tx.attempts.machines(attempt_id))
        engine = self._engine(attempt)
        starts, is_told = engine.starts(attempt_id, machines), engine.has_report(attempt_id)
        released = attempt.state is AttemptState.ENDING
        return GangOrders(
            etag=hashlib.sha256(f"{starts} {released} {is_told}".encode()).hexdigest()[:16],
            starts=starts,
            released=released,
            token=attempt_token(self._secret, attempt_id),
            is_told=is_told,
        )

    def report(self, attempt_id: str, report: GangReport) -> None:
        """Take in how a gang stands, and say for people what it waits for."""
        attempt = self._attempt(attempt_id)
        with self._database.transaction() as tx:
            current = tx.attempts.find(attempt_id)
            is_waiting = current.state in (AttemptState.SUBMITTED, AttemptState.ASSEMBLING) or (
                current.state is AttemptState.RUNNING  # for one that replaces a lost machine
                and any(machine.state is MachineState.WAITING for machine in tx.attempts.machines(attempt_id))
            )
            if report.placed and self._now_us() + _TOKEN_LIFE_US // 2 > current.token_expires_us:
                tx.attempts.move(current, now_us=self._now_us(), token_expires_us=self._now_us() + _TOKEN_LIFE_US)
            if is_waiting and not report.placed and report.reason:
                experiment = tx.runs.experiment_by_id(attempt.experiment_id)
                reason = f"{attempt.cluster}: {report.reason}"
                if experiment.reason != reason:
                    tx.runs.set_reason(experiment.id, reason)
        self._engine(attempt).take_report(attempt_id, report)
        self._changed(attempt_id)

    def _attempt(self, attempt_id: str) -> Attempt:
        try:
            with self._database.read() as tx:
                return open_attempt(tx, attempt_id)
        except Superseded:
            self._known.pop(attempt_id, None)
            self._ask_at.pop(attempt_id, None)
            raise

    def _engine(self, attempt: Attempt) -> DrivenEngine:
        engine = self._engines.of(attempt.cluster)
        if not isinstance(engine, DrivenEngine):
            raise Superseded(f"the cluster {attempt.cluster} has no drivers")
        return engine
