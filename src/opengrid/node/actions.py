"""Commands of the user's around an attempt: before its first ranks on this machine, and after its last ones.

Once per node, in the node's work folder, with the environment of its first rank; what they write stands in that
rank's logs. Those of a build run once, where it is made, and write into the logs of the machine's first rank.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opengrid.core.errors import Unusable
from opengrid.core.masking import Masks
from opengrid.core.protocol import Assignment, Restore
from opengrid.node import spawn
from opengrid.node.generation import Files, places, rank_starts
from opengrid.node.logs import Stream, make_streams

#: An action at the end may take so long; the experiment ends when it has.
_END_S = 300.0

#: One of a build may take so long.
_BUILD_S = 3600.0


class NodeActions:
    """The actions of one attempt on one machine; `ship` hears of the logs that they write to."""

    def __init__(
        self, assignment: Assignment, spool: Path, groups: Path, *, ship: Callable[[Sequence[Stream]], None]
    ) -> None:
        self._assignment, self._spool, self._groups, self._ship = assignment, spool, groups, ship
        self._begun = spool / "actions.begun"  #: survives this agent, so that another one does not begin again
        self._process: subprocess.Popen[bytes] | None = None
        self._is_cancelled = False
        self._lock = threading.Lock()

    def build(self, generation: int, command: str, folder: Path, variables: Mapping[str, str]) -> None:
        """Carry out an action of a build in a folder; Unusable when it fails. Blocks."""
        rank = next(places(self._assignment)).rank
        try:
            files = self._open_logs(generation)
            out, err = files.stream(rank, "stdout"), files.stream(rank, "stderr")
            code = self._run(command, folder, variables, out, err, _BUILD_S)
        except OSError as error:
            raise Unusable(f"build action {command!r}: {error.filename or 'bash'}: {error.strerror}") from error
        if code != 0:
            raise Unusable(
                _told(f"build action {command!r} ended with {code}", err),
                hint=f"`grid logs` of rank {rank} shows what it wrote",
            )

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
                spawn.kill_groups({self._process.pid})

    def _open_logs(self, generation: int) -> Files:
        files = Files(folder=self._spool / str(generation))
        ranks = [place.rank for place in places(self._assignment)]
        self._ship(make_streams(files.folder, generation, ranks, Masks(self._assignment.masked)))
        return files

    def _carry_out(self, commands: Sequence[str], generation: int, *, timeout_s: float | None) -> str | None:
        starts = rank_starts(
            self._assignment,
            generation,
            self._open_logs(generation),
            store_address=None,
            store_port=None,
            restore=Restore(),
            hooks=self._spool / "hooks",
        )
        first = {start.environment["GROUP_RANK"]: start for start in reversed(starts)}
        for node, start in sorted(first.items()):
            folder, out, err = Path(start.directory), Path(start.stdout), Path(start.stderr)
            for command in commands:
                code = self._run(command, folder, start.environment, out, err, timeout_s)
                if code != 0:
                    return _told(f"action {command!r} on node {node} ended with {code}", err)
        return None

    def _run(
        self, command: str, folder: Path, variables: Mapping[str, str], out: Path, err: Path, timeout_s: float | None
    ) -> int:
        with out.open("ab") as to_out, err.open("ab") as to_err, self._lock:
            if self._is_cancelled:
                return -signal.SIGKILL
            self._process = subprocess.Popen(
                ["bash", "-c", command],
                cwd=folder,
                env=dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=to_out,
                stderr=to_err,
                start_new_session=True,
            )
        group = spawn.group_of(self._process.pid)
        if group is not None:  # for whoever must sweep after this agent
            spawn.write_groups(self._groups, [group])
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return -signal.SIGKILL
        finally:
            spawn.kill_groups({self._process.pid})
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self._groups)
            self._process.wait()


def _told(failure: str, log: Path) -> str:
    """Return a failure that stands in a log, too."""
    with log.open("a") as file:
        file.write(f"grid: {failure}\n")
    return failure
