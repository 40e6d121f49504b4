"""What a script's arguments say: references to datastores, and the parameters that tables show."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue
from opengrid.core.names import check_name

#: A reference stands anywhere in an argument, but not inside a word, a path or an address such as `user@grid:…`.
_BEFORE = r"(?<![\w.@/-])"
_REFERENCE = re.compile(
    _BEFORE + r"grid:(?:(?P<user>[^\s:/,;='\"()\[\]{}]+):)?(?P<name>[a-z](?:[a-z0-9-]*[a-z0-9])?)"
    r":(?P<version>[1-9][0-9]{0,8}|latest)(?![\w-]|\.\w)"
)

#: What was meant as one: a value that begins like a reference, or something with both of its colons.
_MEANT = re.compile(rf"(?:^|(?<=\0))grid:(?:\S+|$)|{_BEFORE}grid:[^\s/:]*:\S*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One `grid:name:version`, or `grid:user:name:version`."""

    text: str  #: as written
    user: str | None  #: whose datastore; None = the caller's
    name: str
    version: int | None  #: None = `latest`, the newest when the run is made


def find_references(arguments: Sequence[str]) -> tuple[Reference, ...]:
    """Return the references to datastores, each once, in order; InvalidValue for one that is malformed."""
    found: dict[str, Reference] = {}
    for argument in arguments:
        for match in _REFERENCE.finditer(argument):
            found.setdefault(match[0], _reference(match))
        _check_rest(argument)
    return tuple(found.values())


def substitute(arguments: Sequence[str], paths: Mapping[str, str]) -> tuple[str, ...]:
    """Return the arguments with each reference replaced by the path that `paths` has for its text."""
    return tuple(_REFERENCE.sub(lambda match: paths.get(match[0], match[0]), argument) for argument in arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One option of an argument list with its value, or one word that belongs to no option."""

    position: int  #: of its first word
    width: int  #: in words, 1 or 2
    name: str | None  #: without leading dashes; None: a word
    value: str | None  #: None: an option without a value
    typed: str | None  #: the value as typed, where references were not yet paths


def parts(arguments: Sequence[str], typed: Sequence[str] | None = None) -> Iterator[Part]:
    """Yield what an argument list is made of, in order; `typed` is the same list before references became paths.

    Nothing after `--` is an option.
    """
    before = arguments if typed is None else typed
    position, is_over = 0, False
    while position < len(arguments):
        word, written, after, width = arguments[position], before[position], position + 1, 1
        name, value, typed = None, word, written
        if is_over or not _is_option(written):
            is_over = is_over or word == "--"
        else:
            name, equals, value = word.lstrip("-").partition("=")
            if equals:
                typed = written.partition("=")[2]
            elif after < len(arguments) and not _is_option(before[after]) and before[after] != "--":
                value, typed, width = arguments[after], before[after], 2
            else:
                value = typed = None
        yield Part(position=position, width=width, name=name, value=value, typed=typed)
        position += width


def override(arguments: Sequence[str], changes: Sequence[str]) -> tuple[str, ...]:
    """Return arguments in which the options of `changes` have their new values, in place; what is new is appended."""
    new: dict[str | None, list[str]] = {}
    for part in parts(changes):
        new.setdefault(part.name, []).extend(changes[part.position : part.position + part.width])
    result: list[str] = []
    replaced: set[str] = set()
    for part in parts(arguments):
        if part.name is None or part.name not in new:
            result += arguments[part.position : part.position + part.width]
        elif part.name not in replaced:
            replaced.add(part.name)
            result += new[part.name]
    appended = [word for name, words in new.items() if name is not None and name not in replaced for word in words]
    end = result.index("--") if "--" in result else len(result)
    return (*result[:end], *appended, *result[end:], *new.get(None, ()))


def parameters(arguments: Sequence[str]) -> dict[str, object]:
    """Return the options of an argument list: name without leading dashes → value, as JSON where it parses.

    An option without a value is True, one given several times has the list of its values. Words that belong to no
    option are no parameters, nor is anything after `--`.
    """
    given: dict[str, list[object]] = {}
    for part in parts(arguments):
        if part.name is not None:
            given.setdefault(part.name, []).append(True if part.value is None else _value(part.value))
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}


def _reference(match: re.Match[str]) -> Reference:
    version = None if match["version"] == "latest" else int(match["version"])
    return Reference(text=match[0], user=match["user"], name=check_name(match["name"], "datastore"), version=version)


def _check_rest(argument: str) -> None:
    """Refuse what is left of an argument when it was meant as a reference and is none."""
    rest = _REFERENCE.sub(" ", argument)
    option, equals, value = rest.partition("=")
    meant = _MEANT.search(f"{option}=\0{value}" if equals and option.startswith("-") else rest)
    if meant is not None:
        raise InvalidValue(
            f"{meant[0]!r} is no reference to a datastore",
            hint="write grid:<name>:<version>, such as grid:stl10:1, or grid:<name>:latest; "
            "`grid datastore` lists what there is",
            field="arguments",
        )


def _is_option(word: str) -> bool:
    """Return whether a word starts an option; `-1` and `-.5e3` are values, `-` is a file."""
    return re.match(r"--?[^\W\d]", word) is not None


def _value(text: str) -> object:
    try:
        value: object = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return text
    return value


def _refuse(word: str) -> object:
    """Refuse NaN and Infinity, which Python's reader takes and other readers of our JSON do not."""
    raise ValueError(word)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
