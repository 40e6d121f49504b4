"""The real command line against a GRID_HOME of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from opengrid import __version__
from opengrid.client.api import Api
from opengrid.client.http import Http
from opengrid.core.errors import GridError
from tests.support.processes import is_alive

T = TypeVar("T")

#: Longest time that a test waits for something that takes seconds on an idle machine.
PATIENCE_S = 120.0


class Grid:
    """Types `grid …` as a user would, in a folder, with a home."""

    def __init__(self, home: Path, cwd: Path, environment: Mapping[str, str]) -> None:
        self.home, self.cwd = home, cwd
        self.environment = {**environment, "GRID_HOME": str(home)}

    def start(self, *arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command and return its process."""
        return subprocess.Popen(
            [sys.executable, "-m", "opengrid.cli", *arguments],
            cwd=cwd or self.cwd,
            env={**self.environment, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def call(self, *arguments: str, cwd: Path | None = None, timeout_s: float = PATIENCE_S, **environment: str) -> Done:
        """Run a command to its end."""
        process = self.start(*arguments, cwd=cwd, **environment)
        try:
            out, err = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            out, err = process.communicate()
            raise AssertionError(f"grid {' '.join(arguments)} took over {timeout_s} s\n{out!r}\n{err!r}") from None
        return Done(arguments, process.returncode, out, err)

    def ok(self, *arguments: str, cwd: Path | None = None, timeout_s: float = PATIENCE_S, **environment: str) -> str:
        """Run a command that must succeed; return its stdout."""
        done = self.call(*arguments, cwd=cwd, timeout_s=timeout_s, **environment)
        assert done.code == 0, done
        return done.out

    def json(self, *arguments: str, cwd: Path | None = None, **environment: str) -> Any:
        """Run a command with `-o json` that must succeed; return the document."""
        return json.loads(self.ok("-o", "json", *arguments, cwd=cwd, **environment))

    def submit(self, *arguments: str, cwd: Path | None = None, **environment: str) -> str:
        """`grid run --detach …`; return the name of its first experiment."""
        return self.json("run", "--detach", *arguments, cwd=cwd, **environment)["experiments"][0]

    def finish(self, *arguments: str, cwd: Path | None = None, **environment: str) -> dict[str, Any]:
        """`grid run …`, waited for; return the experiment as `grid status` shows it."""
        return self.ended(self.submit(*arguments, cwd=cwd, **environment))

    def experiment(self, name: str) -> dict[str, Any]:
        """Return an experiment as `grid status -o json` shows it.

        The server itself is asked: a command takes a quarter of a second of the processor from what is waited for.
        Where none of ours answers, the command finds, starts or replaces one.
        """
        with contextlib.suppress(OSError, KeyError, ValueError, GridError):
            about = self.server
            if about["version"] == __version__:
                token = (self.home / "token").read_text().strip()
                http = Http(about["url"], token=token, certificate=about["certificate"])
                try:
                    return dict(Api(http).experiment(name))
                finally:
                    http.close()
        return self.json("status", name)

    def ended(self, name: str) -> dict[str, Any]:
        """Wait until an experiment has ended; return it."""
        return eventually(lambda: (e := self.experiment(name))["state"] in ("succeeded", "failed", "stopped") and e)

    def running(self, name: str) -> dict[str, Any]:
        """Wait until an experiment runs; return it."""

        def look() -> Any:
            experiment = self.experiment(name)
            assert experiment["state"] not in ("failed", "stopped"), experiment
            return experiment["state"] in ("running", "succeeded") and experiment

        return eventually(look)

    def log(self, name: str, *options: str) -> bytes:
        """Return all of an experiment's logs."""
        done = self.call("logs", "--tail-lines", "1000000000", *options, name)
        assert done.code == 0, done
        return done.raw

    @property
    def server(self) -> dict[str, Any]:
        """Return what server.json says."""
        return json.loads((self.home / "server.json").read_text())

    def kill_server(self) -> int:
        """kill -9 the server; return its pid."""
        pid = int(self.server["pid"])
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_alive(pid))
        return pid


def set_secret(grid: Grid, name: str, value: str) -> subprocess.CompletedProcess[str]:
    """`grid secret set NAME`, with the value on stdin."""
    return subprocess.run(
        [sys.executable, "-m", "opengrid.cli", "secret", "set", name],
        env=grid.environment,
        input=f"{value}\n",
        check=False,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=PATIENCE_S,
    )


class Done:
    """A command that has ended."""

    def __init__(self, arguments: tuple[str, ...], code: int, out: bytes, err: bytes) -> None:
        self.arguments, self.code, self.raw = arguments, code, out
        self.out, self.err = out.decode(errors="replace"), err.decode(errors="replace")

    def __repr__(self) -> str:
        return f"grid {' '.join(self.arguments)} → {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def eventually(look: Callable[[], T], timeout_s: float = PATIENCE_S) -> T:
    """Look until the answer is true, and return it; AssertionError with the last answer after the time-out."""
    deadline, pause_s = time.monotonic() + timeout_s, 0.05
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"not within {timeout_s} s; last seen: {seen!r}"
        time.sleep(pause_s)
        pause_s = min(0.25, pause_s * 1.3)  # some looks are commands, which take the processor from what they wait for
