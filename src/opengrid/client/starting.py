"""Starting and stopping the embedded server: a detached process of this user on this host, one at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from opengrid.client.home import About, Home, make_usable, process_is_server, read_about, read_token
from opengrid.client.http import Http
from opengrid.core.errors import GridError, Unusable, UserError
from opengrid.core.locks import try_lock

#: What of the shell that starts it reaches a server. Ranks' environments come with their requests, never from here.
_KEPT = re.compile(
    r"PATH|HOME|USER|LOGNAME|LANG|LC_\w+|TMPDIR|TZ|PYTHONPATH|LD_LIBRARY_PATH|SSL_CERT_\w+|(?:http|https|no|all)_proxy"
    r"|GRID_\w+|GIT_CONFIG_\w+|GIT_SSH\w*|GIT_SSL_\w+|SSH_AUTH_SOCK|UV_\w+|PIP_\w+|AWS_\w+|XDG_CONFIG_HOME",
    re.IGNORECASE,
)
_LOOK_S = 0.01
_START_S, _STOP_S = 60.0, 20.0
_LOG_LIMIT = 16 << 20


def start_server(home: Home, *, arguments: Sequence[str] = (), refused: About | None = None) -> About:
    """Start a server unless one is there by now; return when it is ready to answer.

    Of several callers at once one starts it and all return it. `refused` is what server.json said of a server that
    does not answer. One that others knew by its address, and that was killed, is started there again. Raises what the
    server says when it cannot start.
    """
    make_usable(home)

    def is_there() -> bool:
        about = read_about(home)
        return about is not None and about != refused and about.is_alive

    with _only_one(home, is_there) as lock:
        about = read_about(home)
        if about is not None and is_there():
            return about
        if about is not None and not about.is_elsewhere:
            arguments = arguments or about.arguments
        with _open_log(home.log_file) as log:
            end = log.seek(0, os.SEEK_END)
            process = subprocess.Popen(
                [sys.executable, "-m", "opengrid.server", "--home", str(home.root), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(os.environ, home),
                start_new_session=True,
                pass_fds=(lock,),  # should this command end too early, the next one waits for the same server
            )
        ready = _wait_until_ready(home, process, end)
        fcntl.flock(lock, fcntl.LOCK_UN)  # for the server, too
        return ready


def stop_server(home: Home, *, expected: About | None = None) -> int | None:
    """Stop the home's server and wait until it is gone; return its pid, None when none ran or not the expected one.

    Experiments go on without it.
    """
    about = read_about(home)
    if about is None or expected not in (None, about):
        return None
    check_here(about, home)
    if not about.is_alive:  # it was killed, or this host was started anew
        home.server_file.unlink(missing_ok=True)
        return None
    server = Http(about.url, token=read_token(home), certificate=about.certificate, timeout_s=5)
    try:
        server.request("POST", "/api/v1/server/stop")
    except GridError:
        _signal(about.pid, signal.SIGTERM)
    finally:
        server.close()
    if not _poll(lambda: not process_is_server(about.pid), _STOP_S):
        _signal(about.pid, signal.SIGKILL)
        _poll(lambda: not process_is_server(about.pid), _STOP_S)
    if read_about(home) == about:
        home.server_file.unlink(missing_ok=True)
    return about.pid


def check_here(about: About, home: Home) -> None:
    """Raise Unusable when another host runs the home's server and only that host can reach it."""
    if about.is_elsewhere and about.is_loopback:
        raise Unusable(
            f"the server of {home.root} runs on {about.host} (process {about.pid}, since {about.started_at})",
            hint=f"use grid there, or set GRID_HOME to a folder of this host's own; "
            f"if {about.host} is gone for good, remove {home.server_file}",
        )


@contextlib.contextmanager
def _only_one(home: Home, is_there: Callable[[], bool]) -> Generator[int]:
    """Let one command at a time start a server, or none when one is there; give the lock: it ends with its holders."""
    try:
        descriptor = os.open(home.state / "start.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _explained(error, home.state) from error
    try:
        if not _poll(lambda: is_there() or try_lock(descriptor), 2 * _START_S):
            raise GridError(f"another command has been starting the server of {home.root} for too long")
        yield descriptor
    finally:
        os.close(descriptor)


def _wait_until_ready(home: Home, process: subprocess.Popen[bytes], log_start: int) -> About:
    found: list[About] = []

    def look() -> bool:
        has_ended = process.poll() is not None  # before looking for what it wrote
        about = read_about(home)
        if about is not None and about.pid == process.pid:
            found.append(about)
        return has_ended or bool(found)

    is_over = _poll(look, _START_S)
    if found:
        process.returncode = 0  # it is not waited for: it outlives this command
        return found[-1]
    if is_over:
        raise _failure(process.returncode, _log_since(home, log_start), home)
    process.terminate()
    raise GridError(
        f"the server was not ready within {_START_S:.0f} s{_last_lines(_log_since(home, log_start))}",
        hint=f"is this computer very busy? {home.log_file} may say more",
    )


def _failure(exit_code: int, log: str, home: Home) -> GridError:
    """Return the error that a server died of: the one it foresaw, or the end of its log."""
    foreseen = re.findall(r"^grid: (.*)(?:\nhint: (.*))?$", log, re.MULTILINE)
    if foreseen:
        message, hint = foreseen[-1]
        return (UserError if exit_code == UserError.exit_code else GridError)(message, hint=hint or None)
    return GridError(
        f"the server ended with code {exit_code} before it was ready{_last_lines(log)}",
        hint=f"{home.log_file} has the whole story",
    )


def _last_lines(log: str) -> str:
    lines = log.strip().splitlines()[-12:]
    return ":\n  " + "\n  ".join(lines) if lines else ""


def _log_since(home: Home, start: int) -> str:
    try:
        with home.log_file.open("rb") as log:
            log.seek(start)
            return log.read().decode(errors="replace")
    except OSError:
        return ""


def _open_log(path: Path) -> BinaryIO:
    """Open the server's log for appending; a large one makes room first."""
    try:
        if path.exists() and path.stat().st_size > _LOG_LIMIT:
            os.replace(path, path.with_name(f"{path.name}.1"))
        return open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")
    except OSError as error:
        raise _explained(error, path.parent) from error


def _environment(shell: Mapping[str, str], home: Home) -> dict[str, str]:
    kept = {name: value for name, value in shell.items() if _KEPT.fullmatch(name)}
    if "PYTHONPATH" in kept:  # relative to where the command was typed; the server lives elsewhere
        kept["PYTHONPATH"] = os.pathsep.join(os.path.abspath(p) for p in kept["PYTHONPATH"].split(os.pathsep) if p)
    return {**kept, "GRID_HOME": str(home.root), "GRID_STATE": str(home.state)}


def _signal(pid: int, number: int) -> None:
    if process_is_server(pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _poll(is_true: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not is_true():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _explained(error: OSError, folder: Path) -> Unusable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unusable(f"no space left in {folder}", hint="free space there, or set GRID_STATE to another disk")
    return Unusable(f"cannot write to {folder}: {error.strerror}", hint="set GRID_HOME to a folder of yours")
