"""Runs a script or module as `python SCRIPT` or `python -m MODULE` does, in a `__main__` that stays."""

from __future__ import annotations

import importlib.machinery
import io
import os
import runpy
import sys
import types
import zipfile
from collections.abc import Callable
from types import ModuleType
from typing import cast

from opengrid.core.spec import Program, ProgramKind

#: What CPython itself calls for -m: the same messages, the same __spec__, no copy of __main__.
_run_module_as_main = cast("Callable[..., object]", vars(runpy)["_run_module_as_main"])


class CannotOpen(Exception):
    """The script cannot be read; the message is Python's."""


def prepare(program: Program) -> None:
    """Set sys.argv, sys.path[0] and a fresh `__main__`, before anything of the user's runs."""
    is_module = program.kind is ProgramKind.MODULE
    sys.argv = ["-m" if is_module else program.target, *program.arguments]
    sys.orig_argv = [sys.executable, *(["-m"] if is_module else []), program.target, *program.arguments]
    if is_module:
        sys.path[0] = os.getcwd()
    elif _is_archive(program.target):
        sys.path[0] = program.target
    else:
        sys.path[0] = os.path.dirname(os.path.realpath(program.target))
    # Permanent, unlike runpy.run_path's: pickling, atexit functions and threads need it after the last line.
    main = ModuleType("__main__")
    main.__dict__.update(__builtins__=sys.modules["builtins"], __annotations__={}, __package__=None, __loader__=None)
    sys.modules["__main__"] = main


def run(program: Program) -> None:
    """Run the program to its end in the prepared `__main__`. Raises what it raises, CannotOpen, or SystemExit."""
    if program.kind is ProgramKind.MODULE:
        _run_module(program.target)
    elif _is_archive(program.target):
        _run_archive()
    else:
        _run_script(program.target)


def code_of(program: Program) -> str | None:
    """Return the file name that the outermost frame of a script has; None for a module."""
    return os.path.abspath(program.target) if program.kind is ProgramKind.SCRIPT else None


def _run_script(target: str) -> None:
    path = os.path.abspath(target)
    try:
        with io.open_code(path) as file:
            source = file.read()
    except OSError as error:
        raise CannotOpen(
            f"{sys.executable}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}"
        ) from error
    main = sys.modules["__main__"]
    main.__file__ = path
    main.__dict__["__cached__"] = None
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", path)
    code = compile(source, path, "exec", dont_inherit=True)
    exec(code, main.__dict__)  # noqa: S102  what this file is for


def _run_module(name: str) -> None:
    _run_module_as_main(name)


def _run_archive() -> None:
    _run_module_as_main("__main__", False)


def _is_archive(target: str) -> bool:
    return os.path.isdir(target) or (not target.endswith(".py") and zipfile.is_zipfile(target))


def without_our_frames(error: BaseException, script: str | None) -> types.TracebackType | None:
    """Return the traceback from the user's first frame on, as Python shows it; None when no frame is the user's."""
    traceback = error.__traceback__
    main = sys.modules.get("__main__")
    names = None if main is None else main.__dict__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals is names or frame.f_code.co_filename == script:
            return traceback
        traceback = traceback.tb_next
    return None
