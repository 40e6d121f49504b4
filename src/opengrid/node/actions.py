"""Commands of the user's around an attempt: before its first ranks on this machine, and after its last ones.

Once per node, in the node's work folder, with the environment of its first rank; what they write stands in that
rank's logs.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from opengrid.core.masking import Masks
from opengrid.core.protocol import Assignment, Restore
from opengrid.node import spawn
from opengrid.node.generation import Files, places, rank_starts
from opengrid.node.logs import Stream, make_streams
from opengrid.node.preload.messages import RankStart

#: An action at the end may take so long; the experiment ends when it has.
_END_S = 300.0


class NodeActions:
    """The actions of one attempt on one machine; `ship` hears of the logs that they write to."""

    def __init__(
        self, assignment: Assignment, spool: Path, sessions: Path, *, ship: Callable[[Sequence[Stream]], None]
    ) -> None:
        self._assignment, self._spool, self._sessions, self._ship = assignment, spool, sessions, ship
        self._begun = spool / "actions.begun"  #: survives this agent, so that another one does not begin again
        self._process: subprocess.Popen[bytes] | None = None
        self._is_cancelled = False
        self._lock = threading.Lock()

    def begin(self, generation: int) -> str | None:
        """Carry out what comes before the first ranks, unless that was done; return why it failed. Blocks."""
        commands = self._assignment.on_start
        if not commands and not self._assignment.on_end:
            return None
        if self._begun.exists():
            return None
        failure = self._carry_out(commands, generation, timeout_s=None)
        if failure is None:
            self._begun.touch()
        return failure

    def end(self, generation: int) -> None:
        """Carry out what comes after the last ranks, if they began; a failure is told in the log. Blocks."""
        if self._assignment.on_end and self._begun.exists():
            self._is_cancelled = False
            self._carry_out(self._assignment.on_end, max(1, generation), timeout_s=_END_S)

    def cancel(self) -> None:
        """End the command that runs, and begin no other one."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None and self._process.poll() is None:
                spawn.kill_sessions({self._process.pid})

    def _carry_out(self, commands: Sequence[str], generation: int, *, timeout_s: float | None) -> str | None:
        files = Files(folder=self._spool / str(generation))
        ranks = [place.rank for place in places(self._assignment)]
        self._ship(make_streams(files.folder, generation, ranks, Masks(self._assignment.masked)))
        starts = rank_starts(
            self._assignment,
            generation,
            files,
            store_address=None,
            store_port=None,
            restore=Restore(),
            hooks=self._spool / "hooks",
        )
        first = {start.environment["GROUP_RANK"]: start for start in reversed(starts)}
        for node, start in sorted(first.items()):
            for command in commands:
                code = self._run(command, start, timeout_s)
                if code != 0:
                    failure = f"action {command!r} on node {node} ended with {code}"
                    with open(start.stderr, "a") as log:
                        log.write(f"grid: {failure}\n")
                    return failure
        return None

    def _run(self, command: str, start: RankStart, timeout_s: float | None) -> int:
        with open(start.stdout, "ab") as out, open(start.stderr, "ab") as err, self._lock:
            if self._is_cancelled:
                return -signal.SIGKILL
            self._process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=start.directory,
                env=start.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        session = spawn.session_of(self._process.pid)
        if session is not None:  # for whoever must sweep after this agent
            spawn.write_sessions(self._sessions, [session])
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            spawn.kill_sessions({self._process.pid})
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._sessions)
            self._process.wait()
