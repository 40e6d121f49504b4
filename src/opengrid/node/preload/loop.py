"""What the loops of template and launcher share: signals one can wait for, reaping, and leaving a loop in a fork."""

from __future__ import annotations

import os
import resource
import select
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn, Optional

#: What a process does next; a loop returns it in a forked child, so that the child's stack does not lie on the loop's.
Work = Callable[[], Optional["Work"]]

#: Signals that a terminal, a session's end or a tired user may send: not for template and launcher, they end by other
#: means.
_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def run(work: Work | None) -> NoReturn:
    """Do the work, then what it says comes next, until nothing does; never returns.

    The process ends without the interpreter's teardown, which frees every object and so copies every page that is
    shared with the template: measured 1 s for torch with lightning.
    """
    try:
        while work is not None:
            work = work()
    except BaseException:  # noqa: BLE001  the edge of a process: its log is all that remains
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)
    os._exit(0)


class Wakeup:
    """Makes select() return when a child ends."""

    def __init__(self) -> None:
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noticed)

    def fileno(self) -> int:
        """Return the descriptor that becomes readable."""
        return self._reader

    def drain(self) -> None:
        """Forget the wake-ups so far; reap after this, not before."""
        try:
            while os.read(self._reader, 4096):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Undo it all in a forked child, with blocked signals kept blocked."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)


def readable(descriptors: list[int], timeout_s: float | None) -> set[int]:
    """Wait until one of them can be read; poll() has no limit of 1,024 descriptors as select() has."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return {fd for fd, _ in poll.poll(None if timeout_s is None else max(0, timeout_s) * 1000)}


def reap() -> Iterator[tuple[int, int, int]]:
    """Yield (pid, exit code, peak resident MiB) of every child that has ended; the code is negative for a signal."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, os.waitstatus_to_exitcode(status), _peak_mib(usage)


def _peak_mib(usage: resource.struct_rusage) -> int:
    # os.wait4 itself imports this module; at the top of this one it is loaded before the first fork.
    return usage.ru_maxrss // 1024


def _noticed(number: int, frame: FrameType | None) -> None:
    """Exist: only a signal with a handler reaches the wake-up descriptor."""
