"""What a rank that failed left behind: its exception from the error file, or the last lines of its output."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from opengrid.node.error_file import is_users

#: Most bytes of output that are looked at, and most lines and signs of a line that go along with an exit.
_TAIL_LIMIT, _TAIL_LINES, _LINE_LIMIT = 8192, 20, 500
_TRACEBACK_LIMIT = 16_384
_EXCEPTION_LIMIT = 1000


#: In output that holds one of these, more lines may count: Python's traceback, and what faulthandler writes at a crash.
_TRACEBACK = re.compile(r"most recent call (last|first)\):")
_CURRENT_THREAD = re.compile(r"^Current thread .*\(most recent call first\):\n((?:  File .*\n)+)", re.MULTILINE)
_THREADS_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)

#: In the path of every file of ours, in a zipapp or not.
_OURS = f"{os.sep}opengrid{os.sep}node{os.sep}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Why a rank failed, as far as it said."""

    exception: str | None = None  #: `ValueError: bad lr`
    frame: str | None = None  #: `train.py:12 in main`
    log_tail: str = ""  #: traceback, or the last lines of the output


def read_outcome(error_file: Path, stderr: Path, stdout: Path, directory: Path, *, stacks: Path) -> Outcome:
    """Return what a failed rank left. File names below `directory` are shown relative to it.

    The frame is that of its exception, else of its crash, else where it was when it was asked for its `stacks`.
    """
    found, said = _read_error_file(error_file, directory), _tail(stderr)
    if found is not None and not (found.exception or "").startswith("SystemExit"):
        return found
    if found is not None:  # whoever exits on purpose has said why before
        return replace(found, log_tail=found.log_tail + _last_lines(said, before=_tail(stdout)))
    frame = _current_frame(said, directory) or _current_frame(_tail(stacks), directory)
    return Outcome(frame=frame, log_tail=_last_lines(said, before=_tail(stdout)))


def _read_error_file(path: Path, directory: Path) -> Outcome | None:
    try:
        document: object = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    message = _member(document, "message")
    extra = _member(message, "extraInfo")
    text, callstack, frame = _member(message, "message"), _member(extra, "py_callstack"), _member(extra, "frame")
    if not isinstance(text, str):  # what another library's handler wrote, in torch's older format
        text = message if isinstance(message, str) else None
    if text is None:
        return None
    return Outcome(
        exception=_storable(text[:_EXCEPTION_LIMIT]),
        frame=_frame(frame, directory),
        log_tail=_storable(callstack[-_TRACEBACK_LIMIT:]) if isinstance(callstack, str) else "",
    )


def _frame(frame: object, directory: Path) -> str | None:
    file, line, function = _member(frame, "file"), _member(frame, "line"), _member(frame, "function")
    if not isinstance(file, str):
        return None
    inside = os.path.realpath(directory) + os.sep
    real = os.path.realpath(file)
    shown = real[len(inside) :] if real.startswith(inside) else file
    where = "" if function == "<module>" else f" in {function}"
    return _storable(f"{shown}:{line}{where}")


def _current_frame(said: str, directory: Path) -> str | None:
    """Return the user's innermost line, of the thread that crashed or was asked, in what faulthandler wrote."""
    current = _CURRENT_THREAD.search(said)
    frames = (match.groupdict() for match in _THREADS_FRAME.finditer(current[1] if current is not None else ""))
    return next((_frame(frame, directory) for frame in frames if _is_users(frame["file"])), None)


def _is_users(file: str) -> bool:
    return is_users(file) and _OURS not in file


def _last_lines(said: str, *, before: str) -> str:
    """Return the last lines of stderr; of stdout those for which there is room, as nobody knows how the two mix."""
    lines = _shown_lines(said)
    if not _TRACEBACK.search(said):
        lines = [*_shown_lines(before), *lines[-_TAIL_LINES:]][-_TAIL_LINES:]
    return "".join(f"{line}\n" for line in lines)


def _shown_lines(text: str) -> list[str]:
    """Return the lines as a terminal leaves them: of a progress bar its last state."""
    shown = (line.rstrip("\r").rpartition("\r")[2] for line in text.removesuffix("\n").split("\n")) if text else ()
    return [line if len(line) <= _LINE_LIMIT else f"{line[:_LINE_LIMIT]}…" for line in shown]


def _member(document: object, name: str) -> object:
    return cast("dict[str, object]", document).get(name) if isinstance(document, dict) else None


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_LIMIT))
            tail = file.read(_TAIL_LIMIT)
    except OSError:
        return ""
    if size > _TAIL_LIMIT:
        tail = tail.partition(b"\n")[2] or tail  # whole lines, where there are any
    return _storable(tail.decode("utf-8", "replace"))


def _storable(text: str) -> str:
    """Return the text without what databases and JSON readers refuse: lone surrogates and NUL."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
