"""Brings a rehearsed fault about on this machine."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence

from opengrid.core.protocol import PARTITION_S, Fault, Rehearsal
from opengrid.node.link import ServerAddress
from opengrid.node.steps import Own, Stage


class Rehearsals:
    """Does each rehearsal once, and only in the generation that it is meant for."""

    def __init__(
        self,
        machine: int,
        address: ServerAddress,
        *,
        signal_rank: Callable[[int, int | None], None],
        preempt: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._machine, self._address, self._log = machine, address, log
        self._signal_rank, self._preempt = signal_rank, preempt
        self._done = 0

    def take(self, rehearsals: Sequence[Rehearsal], own: Own) -> None:
        """Do what is asked of this machine and was not done."""
        for rehearsal in rehearsals:
            if rehearsal.number > self._done:
                self._done = rehearsal.number
                if rehearsal.machine == self._machine and _is_for(rehearsal, own):
                    self._bring_about(rehearsal)

    def _bring_about(self, rehearsal: Rehearsal) -> None:
        self._log(f"rehearsal: {rehearsal.fault.value}")
        if rehearsal.fault is Fault.KILL_RANK:
            self._signal_rank(signal.SIGKILL, rehearsal.rank)
        elif rehearsal.fault is Fault.HANG_RANK:
            self._signal_rank(signal.SIGSTOP, rehearsal.rank)
        elif rehearsal.fault is Fault.KILL_MACHINE:
            os.kill(os.getpid(), signal.SIGKILL)  # the launcher and the ranks follow
        elif rehearsal.fault is Fault.PREEMPT:
            self._preempt()
        elif rehearsal.fault is Fault.PARTITION_MACHINE:
            self._address.cut_off(PARTITION_S)
            self._signal_rank(signal.SIGSTOP, None)
            heal = threading.Timer(PARTITION_S, self._signal_rank, (signal.SIGCONT, None))
            heal.daemon = True
            heal.start()


def _is_for(rehearsal: Rehearsal, own: Own) -> bool:
    return own.stage is Stage.RUNNING and rehearsal.generation == own.generation
