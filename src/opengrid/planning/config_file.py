"""The file of `grid run --config`: what the options of `grid run` say, and arguments of the script. Pure.

The format is the original Grid's: YAML with `compute.train` for machine and framework, `hyper_params` for the sweep.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import yaml

from opengrid.core.errors import InvalidValue
from opengrid.core.spec import MOMENTS, Actions
from opengrid.planning.arguments import parts
from opengrid.planning.unused import UNUSED


def _above(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[:depth]) for depth in range(1, len(parts))]


#: Where an option of `grid run` stands in the file.
_OPTIONS = {
    "compute.provider.cluster": "cluster",
    "compute.train.framework": "framework",
    "compute.train.instance": "instance_type",
    "compute.train.gpus": "gpus",
    "compute.train.cpus": "cpus",
    "compute.train.use_spot": "use_spot",
    "compute.train.auto_resume": "auto_resume",
    "compute.train.datastore_name": "datastore_name",
    "compute.train.datastore_version": "datastore_version",
    "compute.train.datastore_mount_dir": "datastore_mount_dir",
    "compute.train.localdir": "localdir",
    "compute.train.dependency_file_info.path": "dependency_file",
    "compute.train.dry_run": "dry_run",
    "hyper_params.settings.strategy": "strategy",
    "hyper_params.settings.strategy_options.num_trials": "num_trials",
    "hyper_params.settings.strategy_options.seed": "seed",
    "hyper_params.settings.num_trials": "num_trials",
    "hyper_params.settings.seed": "seed",
}

#: What the file may say and we have no use for, with the reason. Said when it is set.
_UNUSED = {
    "compute.provider.credentials": "OpenGrid runs on machines of yours, without a cloud's credentials",
    "compute.provider.region": "machines of yours are where they are",
    "compute.provider.vendor": "machines of yours are nobody's",
    "compute.train.storage_gb": UNUSED["memory"],
    "compute.train.scratch.size_gb": UNUSED["scratch_size"],
    "compute.train.scratch.mount_path": UNUSED["scratch_mount_path"],
    "compute.train.dependency_file_info.package_manager": "what the file names is installed by uv",
}

#: What would change the result of a training if it were left out.
_MISSING = {
    "compute.train.dockerfile": "images are not built here; give the interpreter that has what you need with --python",
}

#: Lists of commands, by the name of their field.
_ACTIONS = {f"compute.train.actions.{moment}": moment for moment in MOMENTS}

#: Keys below these are the user's own.
_FREE = ("compute.train.environment", "hyper_params.params")

_NESTED = sorted({path for key in (*_OPTIONS, *_UNUSED, *_MISSING, *_ACTIONS, *_FREE) for path in _above(key)})

#: What "no value" looks like.
_NOTHING: tuple[object, ...] = (None, "", False, [], {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """The value of one option, and where it stands."""

    value: object
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """An option of the script with its value, and where it stands."""

    words: tuple[str, ...]
    line: int

    @property
    def name(self) -> str:
        """The option without dashes."""
        return self.words[0].lstrip("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """What a file says."""

    origin: str
    options: dict[str, Setting] = field(default_factory=dict[str, Setting])  #: by the option's name
    environment: dict[str, str] = field(default_factory=dict[str, str])
    parameters: tuple[Parameter, ...] = ()  #: to follow the script's own arguments
    actions: Actions = field(default_factory=Actions)
    notes: tuple[str, ...] = ()
    lines: Mapping[str, int] = field(default_factory=dict[str, int], compare=False, repr=False)  #: of every key

    def line_of(self, key: str) -> int:
        """Return the line of a key; 1 for what YAML's `<<` brought from elsewhere."""
        return self.lines.get(key, 1)

    def arguments_beside(self, typed: Sequence[str]) -> tuple[tuple[str, ...], list[str]]:
        """Return what follows the arguments that were typed, and notes: an option that was typed wins over the file."""
        names = {part.name for part in parts(typed)} - {None}
        left = [p for p in self.parameters if p.name not in names]
        notes = [
            f"{p.words[0]} of the command line wins over {' '.join(p.words[1:])} in {self.origin}, line {p.line}"
            for p in self.parameters
            if p.name in names
        ]
        return tuple(word for parameter in left for word in parameter.words), notes


def read_config(text: str, origin: str) -> ConfigFile:
    """Return what a file's text says; InvalidValue names the line, and the nearest key to one that does not exist."""
    try:
        document: object = yaml.safe_load(text)
        root = cast("yaml.Node | None", yaml.compose(text, Loader=yaml.SafeLoader))  # type: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise InvalidValue(f"{origin}, line {line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidValue(f"{origin}: it is no YAML ({error})") from None
    if document is None or root is None:
        return ConfigFile(origin=origin)
    if not isinstance(document, dict):
        raise InvalidValue(f"{origin}, line 1: a mapping with compute and hyper_params is expected")
    lines: dict[str, int] = {}
    try:
        _find_lines(root, "", lines, origin)
    except RecursionError:
        raise InvalidValue(f"{origin}: an alias in it leads to itself") from None
    return _Reader(origin, lines).read(cast("dict[object, object]", document))


class _Reader:
    def __init__(self, origin: str, lines: Mapping[str, int]) -> None:
        self._origin, self._lines = origin, lines
        self._options: dict[str, Setting] = {}
        self._environment: dict[str, str] = {}
        self._parameters: list[Parameter] = []
        self._actions: dict[str, tuple[str, ...]] = {}
        self._notes: list[str] = []

    def read(self, document: Mapping[object, object]) -> ConfigFile:
        self._read(document, "")
        return ConfigFile(
            origin=self._origin,
            options=self._options,
            environment=self._environment,
            parameters=tuple(self._parameters),
            actions=Actions(**self._actions),
            notes=tuple(self._notes),
            lines=self._lines,
        )

    def _read(self, mapping: Mapping[object, object], above: str) -> None:
        for key, value in mapping.items():
            path = f"{above}.{key}" if above else str(key)
            if path in _FREE:
                self._read_free(path, self._mapping(path, value))
            elif path in _ACTIONS:
                self._actions[_ACTIONS[path]] = self._commands(path, value)
            elif path in _OPTIONS:
                self._set(_OPTIONS[path], path, value)
            elif path in _UNUSED:
                if value not in _NOTHING:
                    self._notes.append(f"{self._where(path)}: {path} has no effect: {_UNUSED[path]}")
            elif path in _MISSING:
                self._refuse_missing(path, value)
            elif path in _NESTED:
                self._read(self._mapping(path, value), path)
            else:
                raise self._unknown(path)

    def _set(self, option: str, path: str, value: object) -> None:
        if value is None:
            return
        if isinstance(value, (dict, list)):
            raise InvalidValue(f"{self._where(path)}: {path} has one value, not several")
        self._options[option] = Setting(value=value, line=self._lines.get(path, 1))

    def _commands(self, path: str, value: object) -> tuple[str, ...]:
        """Return commands: a list of texts, or one text."""
        commands = [value] if isinstance(value, str) else value or []
        if not isinstance(commands, list) or not all(isinstance(c, str) for c in cast("list[object]", commands)):
            raise InvalidValue(f"{self._where(path)}: {path} is a list of commands, each a text")
        return tuple(command for command in cast("list[str]", commands) if command.strip())

    def _refuse_missing(self, path: str, value: object) -> None:
        entries = cast("dict[object, object]", value).values() if isinstance(value, dict) else [value]
        if any(entry not in _NOTHING for entry in entries):
            raise InvalidValue(f"{self._where(path)}: {path} cannot be had: {_MISSING[path]}")

    def _read_free(self, path: str, mapping: Mapping[object, object]) -> None:
        for key, value in mapping.items():
            if path == "compute.train.environment":
                if isinstance(value, (dict, list)):
                    raise InvalidValue(f"{self._where(f'{path}.{key}')}: a variable has one value, not several")
                self._environment[str(key)] = _text(value)
            else:
                words = (str(key),) if value is None else (str(key), _text(value))
                self._parameters.append(Parameter(words=words, line=self._lines.get(f"{path}.{key}", 1)))

    def _mapping(self, path: str, value: object) -> Mapping[object, object]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise InvalidValue(f"{self._where(path)}: {path} holds keys with values, not {value!r}")
        return cast("dict[object, object]", value)

    def _unknown(self, path: str) -> InvalidValue:
        known = [*_OPTIONS, *_UNUSED, *_MISSING, *_ACTIONS, *_FREE, *_NESTED]
        near = _nearest(path, known)
        return InvalidValue(
            f"{self._where(path)}: there is no key {path}", hint=f"did you mean {near}?" if near else None
        )

    def _where(self, path: str) -> str:
        return f"{self._origin}, line {self._lines.get(path, 1)}"


def _nearest(path: str, known: Sequence[str]) -> str | None:
    """Return the key that was meant: one beside it with a name like it, one of its name elsewhere, or any like it."""
    above, _, name = path.rpartition(".")
    beside = {key.rpartition(".")[2]: key for key in known if key.rpartition(".")[0] == above}
    same = [key for key in known if key.rpartition(".")[2] == name]
    close = [beside[key] for key in difflib.get_close_matches(name, beside, n=1)]
    return next(iter([*close, *same, *difflib.get_close_matches(path, known, n=1)]), None)


def _find_lines(node: yaml.Node, above: str, lines: dict[str, int], origin: str) -> None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            path = f"{above}.{key.value}" if above else str(key.value)
            line = key.start_mark.line + 1
            if path in lines:  # YAML's reader would silently take the last one
                raise InvalidValue(f"{origin}, line {line}: {path} stands twice, in line {lines[path]} too")
            lines[path] = line
            _find_lines(value, path, lines, origin)


def _text(value: object) -> str:
    """Return a value as the command line would have it: a list becomes one that is swept."""
    if isinstance(value, bool):
        return str(value)
    return "" if value is None else str(value)
