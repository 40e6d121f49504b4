"""A request as the command line that makes it again, and requests that are like another one. Pure."""

from __future__ import annotations

import dataclasses
import math
import shlex
from collections.abc import Mapping
from enum import Enum

from opengrid.core.spec import MOMENTS, ProgramKind, RunSpec

#: Fields of a request and the options of `grid run` that set them.
OPTIONS = {
    "description": "description",
    "cluster": "cluster",
    "instance_type": "instance_type",
    "gpus": "gpus",
    "cpus": "cpus",
    "framework": "framework",
    "processes_per_node": "processes_per_node",
    "simulate": "simulate",
    "python": "python",
    "grace_s": "grace",
    "strategy": "strategy",
    "num_trials": "num_trials",
    "seed": "seed",
    "max_experiments": "max_experiments",
    "parallel": "parallel",
    "fail_fast": "fail_fast",
    "max_time_s": "max_time",
    "max_restarts": "max_restarts",
    "use_spot": "use_spot",
    "auto_resume": "auto_resume",
    "datastore_name": "datastore_name",
    "datastore_version": "datastore_version",
    "datastore_mount_dir": "datastore_mount_dir",
    "dependency_file": "dependency_file",
}

#: Fields that are several words each, or none of a command line: `name` is given once, `shell` is who types, and
#: `dependencies` are read from the tree.
OTHERS = frozenset(
    {"program", "source", "environment", "labels", "name", "command", "shell", "dependencies", "actions", "secrets"}
)


def option_values(spec: RunSpec) -> dict[str, str | bool]:
    """Return what of a request differs from the defaults, by the option of `grid run` that says it."""
    usual = {field.name: field.default for field in dataclasses.fields(RunSpec)}
    values = {name: getattr(spec, name) for name in OPTIONS}
    return {
        OPTIONS[name]: value if isinstance(value, bool) else _text(name, value)
        for name, value in values.items()
        if value != usual[name]
    }


def command_line(spec: RunSpec) -> tuple[str, ...]:
    """Return the words after `grid` that ask for the same again, typed where the request came from."""
    words = ["run"]
    for name, value in option_values(spec).items():
        words += [f"--{name}"] if value is True else [f"--{name}", str(value)]
    for name, value in spec.environment.items():
        words += ["--env", f"{name}={value}"]
    for name in spec.secrets:
        words += ["--secret", name]
    for name, value in spec.labels.items():
        words += ["--label", f"{name}={value}"]
    for moment in MOMENTS:
        for command in getattr(spec.actions, moment):
            words += [f"--{moment}", command]
    if is_folder(spec):
        words.append("--localdir")
    if spec.program.kind is ProgramKind.MODULE:
        words.append("-m")
    return (*words, *script_words(spec), *spec.program.arguments)


def without_values(spec: RunSpec) -> str:
    """Return the command as it was typed, variables by their names alone: `--env KEY` takes the shell's value.

    Everybody may read a command, and values only their owner.
    """
    values = {f"{name}={value}": name for name, value in spec.environment.items()}
    try:
        words = shlex.split(spec.command)
    except ValueError:  # whatever it is, no shell has run it
        return ""
    return shlex.join(_without(word, values) for word in words)


def _without(word: str, values: Mapping[str, str]) -> str:
    option, equals, value = word.partition("=")
    if equals and option.startswith("-") and value in values:
        return f"{option}={values[value]}"
    return values.get(word, word)


def is_folder(spec: RunSpec) -> bool:
    """Return whether a request came from a folder as it is, in a repository or not."""
    return spec.source.link is None and spec.source.kind != "git"


def script_words(spec: RunSpec) -> tuple[str, ...]:
    """Return what stands for the script: its name, or a link to the commit that was fetched."""
    program, source = spec.program, spec.source
    if source.link is None:
        return (program.target,)
    if source.place is None:
        return (source.link, program.target) if program.target else (source.link,)
    link = f"{source.place.url}#{source.place.commit}"
    return (link, program.target) if program.kind is ProgramKind.MODULE else (f"{link}:{source.place.path}",)


def _text(name: str, value: object) -> str:
    if isinstance(value, float) and name == "max_time_s":
        return f"{math.ceil(value)}s"
    return str(value.value) if isinstance(value, Enum) else str(value)
