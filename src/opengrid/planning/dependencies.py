"""Which packages a tree needs, from its requirements.txt, environment.yml or pyproject.toml. Pure.

What cannot be installed as it stands there is refused with its line, never guessed.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from typing import cast

import yaml
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.spec import Dependencies
from opengrid.planning.own_packages import OwnPackage, TreeFiles, is_own_package, read_own_package
from opengrid.planning.toml_data import parse_toml

#: Files that are looked for in a tree's root; the first that says something counts.
FILES = ("requirements.txt", "environment.yml", "environment.yaml", "pyproject.toml")

#: As --dependency_file: none of the tree's files counts.
NO_FILE = "none"

#: Options of a requirements file that are passed on: those of indexes, and of what is chosen from them.
_OPTIONS = re.compile(
    r"(-i|--index-url|--extra-index-url|-f|--find-links|--no-index|--pre|--no-binary|--only-binary|--prefer-binary"
    r"|--trusted-host|--require-hashes)\b"
)

_NESTED = re.compile(r"(?P<option>-r|--requirement|-c|--constraint)(?:\s+|=|(?<=-[rc]))(?P<file>\S.*)")
_URL = re.compile(r"(?:\w+\+)?\w+://")

#: A conda version: `3.10`, `3.10.*`, `>=3.9,<3.12`.
_CONDA = re.compile(
    r"\s*(?P<name>[A-Za-z0-9_.-]+)\s*(?:=?=?\s*(?P<exact>[0-9][\w.*]*)(?:=\S*)?|(?P<range>[<>!~][^=].*|[<>!~]=.*))?\s*"
)

#: Files in files, at most: they may name one another.
_MOST_FILES = 50


def find_dependencies(tree: TreeFiles, chosen: str | None = None) -> Dependencies | None:
    """Return what a tree needs; None when it says nothing.

    `chosen` names the file (as --dependency_file); without it those in the root are looked for. InvalidValue names file
    and line of what cannot be had, NotFound a file that does not exist.
    """
    if chosen == NO_FILE:
        return None
    if chosen is not None:
        text = tree.read(posixpath.normpath(chosen))
        if text is None:
            raise NotFound(
                f"--dependency_file {chosen}: there is no such file in the tree",
                hint="a path from the tree's root; does git ignore it?",
                field="dependency_file",
            )
        return _read(posixpath.normpath(chosen), text, tree)
    for name in FILES:
        text = tree.read(name)
        if text is not None:
            found = _read(name, text, tree)
            if found is not None:
                return found
    return None


def check_python(dependencies: Dependencies, version: str, path: str) -> None:
    """Raise InvalidValue when an interpreter of this version is not what the tree wants."""
    if dependencies.python is None or SpecifierSet(dependencies.python).contains(version, prereleases=True):
        return
    raise InvalidValue(
        f"{dependencies.file} wants Python {dependencies.python}, and {path} is Python {version}",
        hint="choose another interpreter with --python, or --dependency_file none to go without",
        field="python",
    )


def _read(name: str, text: str, tree: TreeFiles) -> Dependencies | None:
    if name.endswith((".yml", ".yaml")):
        return _Conda(name, tree).read(text)
    if name.endswith(".toml"):
        return _read_pyproject(name, text, tree)
    lines = _Lines(tree)
    lines.read(name, text)
    return lines.dependencies(name)


class _Lines:
    """Collects the lines of a requirements file and of those that it names."""

    def __init__(self, tree: TreeFiles) -> None:
        self._tree = tree
        self._seen: set[tuple[str, bool]] = set()
        self._requirements: list[str] = []
        self._constraints: list[str] = []
        self._editable: list[str] = []
        self._folders: list[str] = []
        self._pythons: list[str] = []

    def dependencies(self, name: str) -> Dependencies | None:
        """Return what was collected, for the file of this name; None when that is nothing."""
        if not self._requirements and not self._folders and not self._pythons:
            return None
        return Dependencies(
            file=name,
            requirements=tuple(self._requirements),
            constraints=tuple(self._constraints),
            python=str(SpecifierSet(",".join(self._pythons))) if self._pythons else None,
            editable=tuple(self._editable),
            folders=tuple(self._folders),
        )

    def want_python(self, specifier: str, where: str) -> None:
        """Take which versions of Python will do."""
        try:
            self._pythons.append(str(SpecifierSet(specifier)))
        except InvalidSpecifier:
            raise InvalidValue(f"{where}: {specifier!r} is no range of versions", field="dependency_file") from None

    def read(self, name: str, text: str, *, constrains: bool = False) -> None:
        if (name, constrains) in self._seen:
            return
        self._seen.add((name, constrains))
        if len(self._seen) > _MOST_FILES:
            raise InvalidValue(f"{name}: more than {_MOST_FILES} files name one another", field="dependency_file")
        for number, line in _logical_lines(text):
            self.add(line, f"{name}, line {number}", posixpath.dirname(name), constrains=constrains)

    def add(self, line: str, where: str, folder: str, *, constrains: bool = False) -> None:
        """Take one line, which stands in a file of `folder`."""
        nested = _NESTED.fullmatch(line)
        if nested is not None:
            self._read_nested(nested, where, folder, constrains=constrains)
        elif is_own_package(line) and not constrains:
            self._add_own(read_own_package(line, where, self._tree), where)
        elif line.startswith("-"):
            self._add_option(line, where)
        else:
            (self._constraints if constrains else self._requirements).append(_checked(line, where))

    def _add_own(self, own: OwnPackage, where: str) -> None:
        self._requirements += [each if is_own_package(each) else _checked(each, where) for each in own.requirements]
        self._editable += [own.editable] if own.editable is not None else []
        self._folders += [own.folder] if own.folder is not None else []
        if own.python is not None:
            self.want_python(own.python, where)

    def _read_nested(self, nested: re.Match[str], where: str, folder: str, *, constrains: bool) -> None:
        name = posixpath.normpath(posixpath.join(folder, nested["file"].strip()))
        text = None if name.startswith(("../", "/")) or _URL.match(nested["file"]) else self._tree.read(name)
        if text is None:
            raise InvalidValue(f"{where}: there is no {nested['file'].strip()} in the tree", field="dependency_file")
        self.read(name, text, constrains=constrains or nested["option"] in ("-c", "--constraint"))

    def _add_option(self, line: str, where: str) -> None:
        option = _OPTIONS.match(line)
        if option is None:
            raise InvalidValue(
                f"{where}: the option {line.split(maxsplit=1)[0]} is not known here", field="dependency_file"
            )
        value = line[option.end() :].strip(" =")
        if option[1] in ("-f", "--find-links") and not (_URL.match(value) or value.startswith("/")):
            raise InvalidValue(
                f"{where}: {line}: packages are installed before there is a work folder",
                hint="an absolute path or a URL; or name each of them, as ./wheels/package-1.0-py3-none-any.whl",
                field="dependency_file",
            )
        self._requirements.append(line)


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return lines with their numbers: continued ones joined, comments and empty ones left out."""
    found: list[tuple[int, str]] = []
    begun, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if begun else number
        # One space for several: patterns that look for spaces take for ever where there are thousands.
        line = re.sub(r"(^|\s)#.*$", "", " ".join(raw.lstrip("\ufeff").split()))
        if line.endswith("\\"):
            begun += line[:-1].strip() + " "
            continue
        line = (begun + line.strip()).strip()
        begun = ""
        if line:
            found.append((start, line))
    if begun.strip():
        found.append((start, begun.strip()))
    return found


def _checked(line: str, where: str) -> str:
    """Return a line that names a package; InvalidValue when it names none."""
    bare = re.sub(r"\s+--hash[= ]\S+|\s+--config-settings?[= ]\S+", "", line)
    if _URL.match(bare):
        if " " in bare.partition(" ;")[0]:
            raise InvalidValue(
                f"{where}: {line!r} is an address with a space in it",
                hint="one package a line; %20 is a space of an address",
                field="dependency_file",
            )
        return line
    try:
        Requirement(re.sub(r"\$\{\w+\}", "x", bare))
    except InvalidRequirement as error:
        single = re.fullmatch(r"([\w.\-\[\]]+)\s*=\s*([\w.*]+)", bare)
        hint = f"{single[1]}=={single[2]}?" if single else "one package a line, such as numpy>=1.26"
        reason = str(error).splitlines()[0]
        raise InvalidValue(
            f"{where}: {line!r} names no package ({reason})", hint=hint, field="dependency_file"
        ) from None
    return line


def _read_pyproject(name: str, text: str, tree: TreeFiles) -> Dependencies | None:
    project = parse_toml(text, name).get("project")
    if not isinstance(project, dict):
        return None
    table = cast("dict[str, object]", project)
    lines, python = _Lines(tree), table.get("requires-python")
    needed = table.get("dependencies", [])
    if not isinstance(needed, list) or not all(isinstance(each, str) for each in cast("list[object]", needed)):
        raise InvalidValue(f"{name}: project.dependencies is a list of texts", field="dependency_file")
    for each in cast("list[str]", needed):
        lines.add(_checked(each, f"{name}, project.dependencies"), f"{name}, project.dependencies", "")
    if python is not None:
        lines.want_python(str(python), f"{name}, requires-python")
    return lines.dependencies(name)


class _Conda:
    """Reads an environment.yml: its Python, and the part that pip installs."""

    def __init__(self, name: str, tree: TreeFiles) -> None:
        self._name, self._lines = name, _Lines(tree)

    def read(self, text: str) -> Dependencies | None:
        entries, numbers = self._entries(text)
        refused = [
            (number, entry) for entry, number in zip(entries, numbers, strict=True) if not self._take(entry, number)
        ]
        if refused:
            named = ", ".join(f"`{entry}` (line {number})" for number, entry in refused)
            raise InvalidValue(
                f"{self._name}: conda installs {named}, and there is no conda here",
                hint="name what PyPI has of them below `- pip:`; or choose the interpreter of a conda environment with "
                "--python, and --dependency_file none",
                field="dependency_file",
            )
        return self._lines.dependencies(self._name)

    def _entries(self, text: str) -> tuple[list[object], list[int]]:
        try:
            document: object = yaml.safe_load(text)
            root = cast("yaml.Node | None", yaml.compose(text, Loader=yaml.SafeLoader))  # type: ignore[reportUnknownMemberType]
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
            raise InvalidValue(f"{self._name}, line {line}: {error.problem}", field="dependency_file") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidValue(f"{self._name}: it is no YAML ({error})", field="dependency_file") from None
        table = cast("Mapping[str, object]", document) if isinstance(document, dict) else None
        entries = table.get("dependencies", []) if table is not None else None
        if not isinstance(entries, list):
            raise InvalidValue(
                f"{self._name}: a mapping with a list of dependencies is expected", field="dependency_file"
            )
        return cast("list[object]", entries), _lines_of(root, "dependencies")

    def _take(self, entry: object, number: int) -> bool:
        """Take what pip can install and the version of Python; False for a package of conda's."""
        if isinstance(entry, dict) and set(cast("dict[str, object]", entry)) == {"pip"}:
            self._take_lines(cast("dict[str, object]", entry)["pip"], f"{self._name}, below line {number}")
            return True
        if not isinstance(entry, str):
            raise InvalidValue(
                f"{self._name}, line {number}: one package a line is expected, or `pip:` with a list of them",
                field="dependency_file",
            )
        match = _CONDA.fullmatch(" ".join(entry.split()).rpartition("::")[2])
        name = match["name"].lower() if match is not None else ""
        if match is None or name not in ("python", "pip", "setuptools", "wheel"):
            return False
        if name == "python" and (match["exact"] or match["range"]):
            exact = (match["exact"] or "").removesuffix(".*").removesuffix("*")
            specifier = match["range"] or (f"=={exact}" if exact.count(".") > 1 else f"=={exact}.*")
            self._lines.want_python(specifier, f"{self._name}, line {number}")
        return True

    def _take_lines(self, lines: object, where: str) -> None:
        if lines is None:
            return
        # Texts only: what YAML's references make of few bytes can be a list of any length.
        if not isinstance(lines, list) or not all(isinstance(line, str) for line in cast("list[object]", lines)):
            raise InvalidValue(f"{where}: one package a line is expected", field="dependency_file")
        for _, line in _logical_lines("\n".join(cast("list[str]", lines))):
            self._lines.add(line, where, posixpath.dirname(self._name))


def _lines_of(root: yaml.Node | None, key: str) -> list[int]:
    """Return the line of every entry of a list that stands below a key of the document."""
    for name, value in cast("list[tuple[yaml.Node, yaml.Node]]", root.value if root is not None else []):
        if name.value == key and isinstance(value, yaml.SequenceNode):
            return [cast("yaml.Node", entry).start_mark.line + 1 for entry in value.value]
    return []
