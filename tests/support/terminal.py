"""A command on a terminal of its own: what it draws is read, keys are typed."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

from tests.support.grid import PATIENCE_S, Grid

_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """`grid …` as the foreground process of a new pseudo-terminal of 40 lines × 120 columns."""

    def __init__(self, grid: Grid, *arguments: str, cwd: Path) -> None:
        self._screen, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self._process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *arguments],
            cwd=cwd,
            env={**grid.environment, "TERM": "xterm"},
            stdin=side,
            stdout=side,
            stderr=side,
            start_new_session=True,
        )
        os.close(side)
        self.raw = ""

    @property
    def text(self) -> str:
        """Everything written so far, without control sequences."""
        return _ESCAPE.sub("", self.raw)

    @property
    def is_open(self) -> bool:
        """Whether the command has not ended."""
        return self._process.poll() is None

    def see(self, text: str, times: int = 1) -> None:
        """Wait until a text has been written so many times; AssertionError when the command ends before."""
        deadline = time.monotonic() + PATIENCE_S
        while self.text.count(text) < times:
            is_written = time.monotonic() < deadline and self._read()
            assert is_written, f"never wrote {text!r} {times}×:\n{self.text}"

    def press(self, keys: str) -> None:
        """Type keys; \\x03 is Ctrl-C."""
        os.write(self._screen, keys.encode())

    def end(self) -> int:
        """Read to the end; return the exit code."""
        while self._read():
            pass
        os.close(self._screen)
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        if not select.select([self._screen], [], [], PATIENCE_S)[0]:
            self._process.kill()
            raise AssertionError(f"nothing was written for {PATIENCE_S} s:\n{self.text}")
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # EIO: nobody has the other side open any more
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)


#: A session leader without a terminal must ask for one; then it becomes the command line.
_TAKE_TERMINAL = """\
import fcntl, runpy, signal, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("opengrid.cli", run_name="__main__", alter_sys=True)
"""
