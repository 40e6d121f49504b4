"""Writes a rank's uncaught exception where torch's tools look for it, without torch's decorator on the script."""

from __future__ import annotations

import json
import os
import sysconfig
import time
import traceback
from dataclasses import dataclass
from types import TracebackType

#: Longer messages are cut: a library may put a whole tensor into one.
_MESSAGE_LIMIT = 16_384
_CALLSTACK_LIMIT = 262_144

_STANDARD_LIBRARY = os.path.realpath(sysconfig.get_path("stdlib")) + os.sep
_INSTALLED = ("/site-packages/", "/dist-packages/", "/lib/python3.", "/lib64/python3.")


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback."""

    file: str
    line: int
    function: str


def write_error_file(path: str, error: BaseException, shown: TracebackType | None, *, rank: int) -> None:
    """Write torch's error file: {"message": {"message", "extraInfo": {"py_callstack", "timestamp", …}}}.

    Ours in extraInfo: timestamp_ns, rank, pid, exception_type, exception_message, and frame: file, line and function
    of the innermost frame of the user's own code (None when there is none). Whole or not at all; a full disk is not
    an error.
    """
    now_ns = time.time_ns()
    frame = user_frame(error, shown)
    message = str(error)[:_MESSAGE_LIMIT]
    extra = {
        "py_callstack": "".join(traceback.format_exception(type(error), error, shown))[-_CALLSTACK_LIMIT:],
        "timestamp": str(now_ns // 10**9),
        "timestamp_ns": now_ns,
        "rank": rank,
        "pid": os.getpid(),
        "exception_type": type(error).__name__,
        "exception_message": message,
        "frame": frame and {"file": frame.file, "line": frame.line, "function": frame.function},
    }
    document = {"message": {"message": f"{type(error).__name__}: {message}", "extraInfo": extra}}
    try:
        with open(path + ".part", "w") as file:
            json.dump(document, file)
        os.replace(path + ".part", path)
    except OSError:
        pass


def user_frame(error: BaseException, shown: TracebackType | None) -> Frame | None:
    """Return the innermost frame that belongs to no installed package and not to the standard library."""
    if isinstance(error, SyntaxError) and error.filename and is_users(error.filename):
        return Frame(error.filename, error.lineno or 0, "<module>")
    for entry in reversed(traceback.extract_tb(shown)):
        if is_users(entry.filename):
            return Frame(entry.filename, entry.lineno or 0, entry.name)
    return None


def is_users(filename: str) -> bool:
    """Whether a file belongs to no installed package and not to the standard library."""
    if filename.startswith("<") or any(part in filename for part in _INSTALLED):
        return False
    return not os.path.realpath(filename).startswith(_STANDARD_LIBRARY)
