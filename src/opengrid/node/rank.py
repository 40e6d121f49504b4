"""What runs in a rank's process before and after the user's program: becoming it, and ending as Python would.

Two ways lead here. A fork of the launcher (`child`, then `_forked`), and a fresh interpreter (`python agent.pyz rank
FD …`, `rank_main`), for programs that a fork would not run faithfully. Executables are only `child`, then exec.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import errno
import faulthandler
import gc
import importlib
import io
import json
import os
import random
import signal
import site
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, NoReturn, cast

from opengrid.core.codec import from_json, to_json
from opengrid.core.mounts import rewritten
from opengrid.core.spec import ProgramKind
from opengrid.node import main_module, mounting, spawn
from opengrid.node.error_file import write_error_file
from opengrid.node.preload.messages import STACKS_SIGNAL, RankStart

#: What the interpreter's own end calls first.
_join_threads = cast("Callable[[], None]", vars(threading)["_shutdown"])
_run_exit_functions = cast("Callable[[], None]", vars(atexit)["_run_exitfuncs"])

#: Exit code of a rank whose process could not be set up (a folder or log file that cannot be opened).
CANNOT_START = 125


def child(start: RankStart, reason: str, program: str, preset: dict[str, str], launcher: int) -> Callable[[], None]:
    """In a process just forked by the launcher, all signals blocked: return the work that makes it the rank.

    `reason` empty: the program runs in this process. Else a fresh interpreter is executed (or the program, when it is
    no Python); `program` is our zipapp. `preset` are variables that the preloaded modules set when they were
    imported.
    """

    def work() -> None:
        try:
            os.setpgid(0, 0)
            spawn.die_with_parent(launcher)
            _redirect(start)
            mounted = _mounted(start)
            os.chdir(start.directory)
        except OSError as error:
            _cannot_start(start, error)
        if reason:
            _execute(mounted, program)
        _forked(mounted, preset)

    return work


def rank_main(arguments: list[str]) -> int:
    """`rank FD …`: run the Python program described in the file FD as this process's `__main__`; return its exit code.

    What follows FD only makes the command line readable.
    """
    with open(int(arguments[0])) as file:
        start = from_json(RankStart, json.load(file))
    _observe(start)
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    _add_overlay(start.overlay)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    code, interrupted = _run(start)
    if interrupted:
        _wait_for_threads()
        _run_exit_functions()
        _die_of_interrupt()
    return code


# Becoming the rank


def _redirect(start: RankStart) -> None:
    with open(os.devnull, "rb") as null:
        os.dup2(null.fileno(), 0)
    for descriptor, path in ((2, start.stderr), (1, start.stdout)):
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)


def _mounted(start: RankStart) -> RankStart:
    """Make the mounts; where that fails, have the arguments name the trees themselves."""
    bound = [mount for mount in start.mounts if mount.is_bound]
    others = [mount for mount in start.mounts if not mount.is_bound]
    if bound and start.scratch is not None:
        try:
            os.makedirs(start.scratch, exist_ok=True)
            mounting.enter(bound, start.scratch)
        except OSError as error:
            told = f"grid: no mounts here ({error.strerror}): arguments name the data's own folders\n"
            os.write(2, os.fsencode(told))
            others = list(start.mounts)
    if not others:
        return start
    arguments = rewritten(start.program.arguments, others)
    return dataclasses.replace(start, program=dataclasses.replace(start.program, arguments=arguments))


def _cannot_start(start: RankStart, error: OSError) -> NoReturn:
    message = f"grid: cannot start rank {start.rank}: {error.filename or start.directory}: {error.strerror}\n"
    os.write(2, os.fsencode(message))
    os._exit(CANNOT_START)


def _execute(start: RankStart, program: str) -> NoReturn:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is not None:  # Python itself ignores SIGPIPE and SIGXFSZ: a fresh program must not
            signal.signal(number, signal.SIG_DFL)
    if start.program.kind is ProgramKind.EXECUTABLE:
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        arguments = [start.program.target, *start.program.arguments]
    else:
        # Deadly until the interpreter is up and has its handler.
        signal.pthread_sigmask(signal.SIG_SETMASK, (STACKS_SIGNAL,))
        arguments = [sys.executable, program, "rank", str(_start_file(start)), start.title, *start.program.arguments]
    try:
        _exec_as_shell_would(arguments, start.environment)
    except OSError as error:
        os.write(2, os.fsencode(f"grid: {arguments[0]}: {error.strerror}\n"))
        os._exit(127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126)


def _exec_as_shell_would(arguments: list[str], environment: dict[str, str]) -> NoReturn:
    try:
        os.execvpe(arguments[0], arguments, environment)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    os.execve("/bin/sh", ["/bin/sh", *arguments], environment)  # no #! line


def _start_file(start: RankStart) -> int:
    """Return a descriptor that survives exec and holds the message without the environment, which goes its own way."""
    document: dict[str, Any] = {**to_json(start), "environment": {}}
    descriptor = os.memfd_create("grid-rank", 0)
    os.write(descriptor, json.dumps(document).encode("ascii"))
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _forked(start: RankStart, preset: dict[str, str]) -> NoReturn:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _become_fresh(start, preset)
        _observe(start)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    except BaseException:  # noqa: BLE001  ours, not the user's: nothing above this can tell anybody
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(CANNOT_START)
    code, interrupted = _run(start)
    _finish(code, interrupted)


def _become_fresh(start: RankStart, preset: dict[str, str]) -> None:
    """Make the fork what a fresh interpreter with this environment would be."""
    os.environ.clear()
    os.environ.update(start.environment)
    for name, value in preset.items():
        os.environ.setdefault(name, value)
    time.tzset()
    # The same objects as the template's, on other files: handlers that libraries made while loading still hold them.
    # torchrun runs `python -u` so that logs are prompt; by the line is as prompt (also after \r) without a system
    # call per word.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    _set_path(start.overlay)
    tempfile.tempdir = None  # TMPDIR may differ
    _reseed()
    _set_threads(os.environ.get("OMP_NUM_THREADS", ""))
    process = sys.modules.get("multiprocessing.process")
    if process is not None:
        cast(Any, process).ORIGINAL_DIR = os.getcwd()  # children by spawn look for a relative __main__ here
        cast(Any, process).current_process().authkey = os.urandom(32)


def _set_path(overlay: str | None) -> None:
    # sys.path[0] is our zipapp; main_module replaces it with the script's folder.
    given = os.environ.get("PYTHONPATH", "")
    sys.path[1:1] = [os.path.abspath(entry) for entry in given.split(os.pathsep)] if given else []
    sys.path[:] = list(dict.fromkeys(sys.path))
    _add_overlay(overlay)
    importlib.invalidate_caches()
    if given and "sitecustomize" not in sys.modules:
        site.execsitecustomize()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


def _add_overlay(overlay: str | None) -> None:
    """Put a folder of packages, with its path files, behind the standard library and before the installed packages."""
    if overlay is None:
        return
    sys.path[:] = [entry for entry in sys.path if entry != overlay]  # PYTHONPATH has it for the rank's own children
    count = len(sys.path)
    site.addsitedir(overlay)
    added = sys.path[count:]
    del sys.path[count:]
    installed = (i for i, entry in enumerate(sys.path) if entry.endswith(("site-packages", "dist-packages")))
    place = next(installed, count)
    sys.path[place:place] = added


def _reseed() -> None:
    """Give this rank the random state of a fresh process, else all ranks share the template's."""
    random.seed()
    numpy_random, torch = sys.modules.get("numpy.random"), sys.modules.get("torch")
    if numpy_random is not None:
        cast(Any, numpy_random).seed()
    if torch is not None:
        # Not torch.seed(): a fresh process's CUDA generators have a fixed seed.
        cast(Any, torch).default_generator.seed()


def _set_threads(text: str) -> None:
    """Apply OMP_NUM_THREADS by call: the libraries read the variable when they were loaded."""
    if not text.isdigit() or int(text) < 1:
        return
    torch = sys.modules.get("torch")
    if torch is not None:
        cast(Any, torch).set_num_threads(int(text))
    if "numpy" in sys.modules:
        _set_blas_threads(int(text))


def _set_blas_threads(threads: int) -> None:
    with open("/proc/self/maps") as maps:
        libraries = {line.split()[-1] for line in maps if "openblas" in line}
    for path in libraries:
        library = ctypes.CDLL(path)
        for name in (
            "scipy_openblas_set_num_threads64_",
            "scipy_openblas_set_num_threads",
            "openblas_set_num_threads64_",
            "openblas_set_num_threads",
        ):
            function = getattr(library, name, None)
            if function is not None:
                function(threads)
                break


def _observe(start: RankStart) -> None:
    """Title, and stacks on a crash (to stderr) and on STACKS_SIGNAL (to their own file)."""
    spawn.set_title(start.title, f"rank{start.rank} {os.path.basename(start.program.target)}")
    faulthandler.enable(file=2, all_threads=True)
    if start.stacks is not None:
        stacks = os.open(start.stacks, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        faulthandler.register(STACKS_SIGNAL, file=stacks, all_threads=True)


# The program, and its end


def _run(start: RankStart) -> tuple[int, bool]:
    """Run the program; return its exit code and whether it ended by an uncaught KeyboardInterrupt."""
    pid = os.getpid()
    try:
        main_module.prepare(start.program)
        _forget_ourselves()
        main_module.run(start.program)
    except main_module.CannotOpen as error:
        print(error, file=sys.stderr)
        return 2, False
    except SystemExit as error:
        code = _exit_code(error)
        if code != 0:
            _record(start, pid, error)
        return code, False
    except BaseException as error:  # noqa: BLE001  whatever a program may raise
        shown = _record(start, pid, error)
        _show(error, shown)
        return 1, isinstance(error, KeyboardInterrupt)
    return 0, False


def _forget_ourselves() -> None:
    """Leave no module of this package behind: the program's `import opengrid` finds the installed one, if any."""
    for name in [name for name in sys.modules if name == "opengrid" or name.startswith("opengrid.")]:
        del sys.modules[name]


def _record(start: RankStart, pid: int, error: BaseException) -> TracebackType | None:
    shown = main_module.without_our_frames(error, main_module.code_of(start.program))
    if start.error_file is not None and os.getpid() == pid:  # not in a process that the program forked
        write_error_file(start.error_file, error, shown, rank=start.rank)
    return shown


def _show(error: BaseException, shown: TracebackType | None) -> None:
    """Show the exception as Python does: through sys.excepthook, which the program may have replaced."""
    error.__traceback__ = shown
    sys.last_type, sys.last_value, sys.last_traceback = type(error), error, shown
    try:
        sys.stdout.flush()
        sys.excepthook(type(error), error, shown)
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  the program's hook
        traceback.print_exc()
        traceback.print_exception(type(error), error, shown)


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF if abs(error.code) < 2**63 else 0xFF
    print(error.code, file=sys.stderr)
    return 1


def _finish(code: int, interrupted: bool) -> NoReturn:
    """End a forked rank as the interpreter would end it, but for freeing what the template had loaded.

    Real teardown writes to every page shared with the template: measured 1 s a rank with lightning loaded.
    """
    _wait_for_threads()
    try:
        _run_exit_functions()
        _drop_users_objects()
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
    except BaseException as error:  # noqa: BLE001  finalizers of the program
        code = code or (120 if isinstance(error, OSError) else 1)
    ctypes.CDLL(None).fflush(None)  # what extensions wrote with C's printf
    if interrupted:
        _die_of_interrupt()
    os._exit(code)


def _wait_for_threads() -> None:
    try:
        _join_threads()
    except BaseException:  # noqa: BLE001  an interrupt while threads are joined
        traceback.print_exc()


def _drop_users_objects() -> None:
    """Run the finalizers that the program relies on: a file left open at module level is written to disk."""
    if threading.active_count() > 1:  # a daemon thread would stumble over names that vanish
        _flush_open_files()
        return
    names = sys.modules["__main__"].__dict__
    for name in [name for name in names if name != "__builtins__"]:
        names[name] = None
    gc.collect()  # only what is younger than the template
    _flush_open_files()


def _flush_open_files() -> None:
    for kind in (io.TextIOWrapper, io.BufferedWriter):
        for thing in gc.get_objects():
            if issubclass(type(thing), kind):  # not isinstance: a lazy proxy would load what it stands for
                with contextlib.suppress(OSError, ValueError):  # closed, read-only, disk full
                    thing.flush()


def _die_of_interrupt() -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    os._exit(130)
