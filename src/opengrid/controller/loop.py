"""The controller's thread: one pass after another, woken by whatever changes, and once a second anyway."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import structlog

log = structlog.get_logger(__name__)

#: A pass happens at least this often: capacity can change without anybody telling.
_IDLE_S = 1.0


class Controller:
    """Runs its stages in order, again and again; a stage that fails is logged and tried again in the next pass."""

    def __init__(self, stages: Sequence[Callable[[], bool]], *, changed: Callable[[], None]) -> None:
        self._stages, self._changed = stages, changed
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._loop, name="controller", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def wake(self) -> None:
        """Ask for a pass now. Callable from any thread, cheap."""
        self._wake.set()

    def close(self) -> None:
        """End after the current pass. Attempts go on without us."""
        self._closing = True
        self._wake.set()
        self._thread.join(30)

    def step(self) -> bool:
        """Do one pass; True when some stage changed something, so that another pass may find more to do."""
        changed = False
        for stage in self._stages:
            try:
                changed |= stage()
            except Exception:  # the loop's edge: one broken experiment must not stop all others
                log.exception("controller stage failed", stage=getattr(stage, "__qualname__", repr(stage)))
        if changed:
            self._changed()
        return changed

    def _loop(self) -> None:
        while not self._closing:
            self._wake.wait(_IDLE_S)
            self._wake.clear()
            while self.step() and not self._closing:
                pass
