"""What the server knows of one gang inside a cluster, from its driver's reports, and what it orders there."""

from __future__ import annotations

from opengrid.core.protocol import GangReport


class GangState:
    """What is known of one attempt: what its driver told, and which agents shall be started anew."""

    def __init__(self) -> None:
        self.report: GangReport | None = None
        self._wanted: dict[int, int] = {}  #: machine → how often it shall have been started
        self._anew: set[int] = set()  #: machines to start anew, of which the driver has not told yet how they are

    def start_anew(self, machine: int) -> None:
        """Have an agent started if the former one is gone."""
        if self.report is None or machine >= len(self.report.started):
            self._anew.add(machine)
        elif self.report.gone[machine] is not None:
            self._wanted[machine] = self.report.started[machine] + 1

    def take(self, report: GangReport) -> None:
        """Take in what the driver tells."""
        self.report = report
        for machine in [m for m in self._anew if m < len(report.started)]:
            self._anew.discard(machine)
            self.start_anew(machine)

    def starts(self, machines: int) -> tuple[int, ...]:
        """Return how often each agent shall have been started."""
        told = self.report.started if self.report is not None else ()
        return tuple(max(1, self._wanted.get(m, 0), told[m] if m < len(told) else 0) for m in range(machines))

    def gone(self) -> frozenset[int]:
        """Return the machines whose agent is gone and has not been ordered anew."""
        if self.report is None:
            return frozenset()
        started, gone = self.report.started, self.report.gone
        return frozenset(
            m
            for m, words in enumerate(gone)
            if words is not None and self._wanted.get(m, 0) <= started[m] and m not in self._anew
        )


#: Of an attempt of which nothing has been told.
UNTOLD = GangState()
