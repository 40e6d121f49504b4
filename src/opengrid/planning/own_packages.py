"""Packages that lie in the user's own tree: lines such as `-e .`, `./lib[extra]` or `./wheels/x.whl`. Pure.

What is editable is imported from the tree as it runs, and only what it needs is installed; the others are installed
like any package. Paths are relative to the tree's root, as if pip were called there.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import cast

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from opengrid.core.errors import InvalidValue
from opengrid.planning.toml_data import parse_toml

_EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)\s*(?P<what>\S.*)")

#: What is no name of a package but a path: it begins like one, or is an archive of a package.
_PATH = re.compile(r"\.{0,2}/|\.{1,2}(?:\[|\s|$)|file:|[\w.-]+/|[\w.+-]+(?:\.whl|\.tar\.gz|\.zip)\b")
_PARTS = re.compile(r"(?P<path>[^\[\];]+)(?P<extras>\[[\w\s,.-]*\])?\s*(?P<marker>;.*)?")
_URL = re.compile(r"\w+(?:\+\w+)?://")

_ARCHIVES = (".whl", ".tar.gz", ".zip")

#: Files that make a folder one that pip can install.
_PROJECTS = ("pyproject.toml", "setup.py", "setup.cfg")


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPackage:
    """What one line of a requirements file says about a package of the tree."""

    requirements: tuple[str, ...]  #: lines to install, with paths from the tree's root, which begin with `./`
    editable: str | None = None  #: the folder that is imported from the tree, and not installed itself
    folder: str | None = None  #: where in the tree its modules lie
    python: str | None = None  #: versions of Python that it wants


class TreeFiles:
    """The files of a tree: their paths, and what is in them."""

    def __init__(self, paths: Collection[str], read: Callable[[str], str | None]) -> None:
        self._paths, self.read = paths, read

    def has_file(self, path: str) -> bool:
        """Return whether there is such a file."""
        return path in self._paths

    def has_folder(self, path: str) -> bool:
        """Return whether there is such a folder, with something in it."""
        return path == "." or any(each.startswith(f"{path}/") for each in self._paths)


def is_own_package(line: str) -> bool:
    """Return whether a line of a requirements file names a path, or is about an editable package."""
    return _EDITABLE.match(line) is not None or (_PATH.match(line) is not None and _URL.match(line) is None)


def read_own_package(line: str, where: str, tree: TreeFiles) -> OwnPackage:
    """Return what such a line says; InvalidValue names what cannot be had, and why."""
    editable = _EDITABLE.fullmatch(line)
    what = editable["what"] if editable is not None else line
    if _URL.match(what) and not what.startswith("file:"):
        return OwnPackage(requirements=(what,))  # of version control: a plain install has the same content
    parts = _PARTS.fullmatch(what)
    if parts is None or (editable is not None and parts["marker"]):
        raise _invalid(where, line, "it is no path", "a path from the tree's root, such as ./lib or ./lib[extra]")
    path, extras, marker = parts["path"].strip().removeprefix("file:"), parts["extras"] or "", parts["marker"] or ""
    if path.startswith("/"):
        if editable is not None:
            raise _outside(where, line)
        return OwnPackage(requirements=(line if line.startswith("file:") else f"file://{what}",))
    path = posixpath.normpath(path)
    if path.startswith(".."):
        raise _outside(where, line)
    if editable is not None:
        return _editable(path, extras, line, where, tree)
    _check_installable(path, line, where, tree)
    return OwnPackage(requirements=(f"./{path}{extras}{f' {marker}' if marker else ''}",))


def _editable(path: str, extras: str, line: str, where: str, tree: TreeFiles) -> OwnPackage:
    if not tree.has_folder(path) or path.endswith(_ARCHIVES):
        raise _invalid(where, line, f"there is no folder {path} in the tree", "a path from the tree's root")
    _check_installable(path, line, where, tree)
    own = "" if path == "." else f"{path}/"
    is_src = tree.has_folder(f"{own}src") and not tree.has_file(f"{own}src/__init__.py")
    folder = posixpath.normpath(f"{own}src") if is_src else path
    wanted = [each.strip() for each in extras.strip("[]").split(",") if each.strip()]
    needs = _declared(tree.read(f"{own}pyproject.toml"), f"{own}pyproject.toml", wanted)
    if needs is not None:
        return OwnPackage(requirements=needs[0], folder=folder, python=needs[1])
    return OwnPackage(requirements=(f"./{path}{extras}",), editable=path, folder=folder)


def _declared(text: str | None, name: str, extras: list[str]) -> tuple[tuple[str, ...], str | None] | None:
    """Return what a project needs, and of which Python, where its pyproject.toml says so without being executed."""
    project = parse_toml(text, name).get("project") if text is not None else None
    if not isinstance(project, dict):
        return None
    table = cast("dict[str, object]", project)
    optional = cast("dict[str, object]", table.get("optional-dependencies", {}))
    dynamic = cast("list[str]", table.get("dynamic", []))
    if "dependencies" in dynamic or (extras and "optional-dependencies" in dynamic):
        return None
    lists = [table.get("dependencies", []), *(optional.get(extra) for extra in extras)]
    if not all(isinstance(each, list) for each in lists):
        return None  # whoever builds it says what is wrong
    lines = [str(line) for each in lists for line in cast("list[object]", each)]
    if canonicalize_name(str(table.get("name", ""))) in map(_named, lines):
        return None  # extras that name one another
    python = table.get("requires-python")
    return tuple(lines), str(python) if python is not None else None


def _named(line: str) -> str | None:
    try:
        return canonicalize_name(Requirement(line).name)
    except InvalidRequirement:
        return None  # which whoever takes the line says


def _check_installable(path: str, line: str, where: str, tree: TreeFiles) -> None:
    if path.endswith(_ARCHIVES):
        if not tree.has_file(path):
            raise _invalid(where, line, f"there is no {path} in the tree", "does git ignore it?")
        return
    if not tree.has_folder(path):
        raise _invalid(where, line, f"there is no {path} in the tree", "a path from the tree's root")
    own = "" if path == "." else f"{path}/"
    if not any(tree.has_file(f"{own}{name}") for name in _PROJECTS):
        named = "the tree's root" if path == "." else path
        raise _invalid(
            *(where, line, f"{named} has no {', '.join(_PROJECTS[:-1])} or {_PROJECTS[-1]}"),
            "leave the line out, or --dependency_file none goes without the whole file",
        )


def _outside(where: str, line: str) -> InvalidValue:
    return _invalid(
        where, line, "it lies outside the tree that runs", "move it into the tree, or name the package's version"
    )


def _invalid(where: str, line: str, why: str, hint: str) -> InvalidValue:
    return InvalidValue(f"{where}: `{line}` cannot be installed: {why}", hint=hint, field="dependency_file")
