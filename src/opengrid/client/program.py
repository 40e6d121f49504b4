"""What the words after the options of `grid run` mean: a script, a module or a command; and which Python runs it."""

from __future__ import annotations

import difflib
import os
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.spec import Program, ProgramKind

#: What of the shell that typed the command reaches ranks; --env adds to it.
_SHELL = re.compile(
    r"PATH|HOME|USER|LOGNAME|SHELL|LANG|LC_\w+|TMPDIR|TZ|CUDA_VISIBLE_DEVICES|\w+_proxy|\w+_PROXY", re.ASCII
)

_FOLDERS_SEARCHED = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What somebody typed, with the file that it names."""

    kind: ProgramKind
    target: str
    arguments: tuple[str, ...]
    file: Path | None  #: real path of the script or executable in the user's folders; None: a module or a command

    def program(self, start: Path) -> Program:
        """Return the program as seen from the folder in which it will start."""
        target = self.target
        if self.file is not None:
            relative = os.path.relpath(self.file, start)
            target = relative if self.kind is ProgramKind.SCRIPT or "/" in relative else f"./{relative}"
        return Program(kind=self.kind, target=target, arguments=self.arguments)


def find_program(target: str, arguments: tuple[str, ...], *, cwd: Path, is_module: bool, path: str) -> Typed:
    """Return what `target` means when typed in `cwd`; NotFound, with the nearest names, when it means nothing.

    A file of that name comes first: *.py is a script, any other an executable. Then a command that `path` finds.
    """
    if is_module:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)*", target):
            raise InvalidValue(f"-m {target}: no name of a module", hint="such as -m package.module", field="script")
        return Typed(kind=ProgramKind.MODULE, target=target, arguments=arguments, file=None)
    is_script = target.endswith(".py")
    file = cwd / target
    if file.is_file():
        kind = ProgramKind.SCRIPT if is_script else ProgramKind.EXECUTABLE
        real = Path(os.path.realpath(file.parent), file.name)
        outside = not is_script and os.path.isabs(target) and cwd not in real.parents
        return Typed(kind=kind, target=target, arguments=arguments, file=None if outside else real)
    if file.is_dir():
        raise InvalidValue(f"{target} is a folder", hint="name the script in it, or -m for a package", field="script")
    if not is_script and "/" not in target and shutil.which(target, path=path):
        return Typed(kind=ProgramKind.EXECUTABLE, target=target, arguments=arguments, file=None)
    what = "file" if is_script or "/" in target else "file or command"
    raise NotFound(f"there is no {what} {target} in {cwd}", hint=_offer(target, cwd), field="script")


def _offer(target: str, cwd: Path) -> str:
    near = nearest_files(target, cwd)
    if near:
        return f"did you mean {', '.join(near)}?"
    here = sorted(name for name in os.listdir(cwd) if name.endswith(".py"))[:3]
    return f"Python files here: {', '.join(here)}" if here else "name the script as seen from this folder"


def nearest_files(target: str, cwd: Path) -> list[str]:
    """Return up to three scripts below `cwd` whose names are like the one asked for, the likest first."""
    wanted = _stem(target)
    by_stem: dict[str, list[str]] = {}
    for number, (folder, folders, names) in enumerate(os.walk(cwd)):
        if number > _FOLDERS_SEARCHED:
            break
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in ("__pycache__", "node_modules"))
        for name in sorted(names):
            if name.endswith((".py", ".sh")):
                by_stem.setdefault(_stem(name), []).append(os.path.relpath(os.path.join(folder, name), cwd))
    close = difflib.get_close_matches(wanted, by_stem, n=3, cutoff=0.6)
    return [path for stem in close for path in by_stem[stem]][:3]


def _stem(path: str) -> str:
    return os.path.splitext(os.path.basename(path))[0].lower()


def find_python(given: str | None, environment: Mapping[str, str], cwd: Path) -> str:
    """Return the ranks' interpreter: the one given, else the shell's active environment's, else the one that runs us.

    An absolute path, links not followed: an environment is known by the path of its python.
    """
    if given:
        found = shutil.which(given, path=environment.get("PATH")) if "/" not in given else str(cwd / given)
        if found is None or not os.access(found, os.X_OK) or os.path.isdir(found):
            raise InvalidValue(
                f"--python {given}: no such interpreter", hint="a path, or the name of a command", field="python"
            )
        return os.path.normpath(cwd / found)
    for variable in ("VIRTUAL_ENV", "CONDA_PREFIX"):
        folder = environment.get(variable)
        if folder and os.access(python := os.path.join(folder, "bin", "python"), os.X_OK):
            return os.path.normpath(cwd / python)
    return sys.executable


def shell_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of a shell's environment ranks get to see."""
    return {name: value for name, value in environment.items() if _SHELL.fullmatch(name)}


def chosen_variables(given: tuple[str, ...], environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of --env: KEY=VALUE, or KEY for the value that this shell has."""
    chosen: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals and name not in environment:
            raise InvalidValue(
                f"--env {name}: this shell has no such variable", hint=f"--env {name}=VALUE", field="environment"
            )
        chosen[name] = value if equals else environment[name]
    return chosen
