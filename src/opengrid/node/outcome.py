"""What a rank that failed left behind: its exception from the error file, or the last lines of its output."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

#: Most bytes of output that go along with an exit.
_TAIL_LIMIT = 4096
_TRACEBACK_LIMIT = 16_384
_EXCEPTION_LIMIT = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Why a rank failed, as far as it said."""

    exception: str | None = None  #: `ValueError: bad lr`
    frame: str | None = None  #: `train.py:12 in main`
    log_tail: str = ""  #: traceback, or the end of stderr


def read_outcome(error_file: Path, stderr: Path, stdout: Path, directory: Path) -> Outcome:
    """Return what a failed rank left. File names below `directory` are shown relative to it."""
    found = _read_error_file(error_file, directory)
    if found is not None:
        return found
    return Outcome(log_tail=_tail(stderr) or _tail(stdout))


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
