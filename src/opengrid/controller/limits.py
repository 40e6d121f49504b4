"""Asks experiments to stop that have run for their --max_time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from opengrid.core.records.experiments import ExperimentState
from opengrid.store.database import Database

_LOOK_US = 1_000_000


class Limits:
    """The stage of the controller that watches the time of running experiments."""

    def __init__(self, database: Database, *, now_us: Callable[[], int]) -> None:
        self._database, self._now_us = database, now_us
        self._look_us = 0
        self._max_time_s: dict[str, float | None] = {}  #: by run

    def stop_overdue(self) -> bool:
        """Request the stop of what has run too long, from its first start on; look once a second."""
        now = self._now_us()
        if now < self._look_us:
            return False
        self._look_us = now + _LOOK_US
        with self._database.read() as tx:
            running = tx.runs.experiments_in([ExperimentState.RUNNING])
            self._max_time_s = {
                run: self._max_time_s[run] if run in self._max_time_s else tx.runs.find_by_id(run).spec.max_time_s
                for run in {experiment.run_id for experiment in running}
            }
        overdue = [
            (experiment, limit_s)
            for experiment in running
            if (limit_s := self._max_time_s[experiment.run_id]) is not None
            and experiment.started_us is not None
            and experiment.stop_requested is None
            and now - experiment.started_us >= limit_s * 1e6
        ]
        if not overdue:
            return False
        with self._database.transaction() as tx:
            for experiment, limit_s in overdue:
                reason = f"its --max_time of {timedelta(seconds=limit_s)} is over"
                tx.runs.request_stop(experiment.id, reason, now)
        return True
