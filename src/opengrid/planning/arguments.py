"""What a script's arguments say: references to datastores, and the parameters that tables show."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue
from opengrid.core.names import check_name

#: A reference is a whole argument or the value after `--option=`; a path inside the datastore may follow it.
_REFERENCE = re.compile(r"(?P<option>-[^=\s]*=)?(?P<text>grid:[^/]*)(?P<inside>/.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """One `grid:name:version`, or `grid:user:name:version`."""

    text: str  #: as written, without the path that may follow
    user: str | None  #: whose datastore; None = the caller's
    name: str
    version: int


def find_references(arguments: Sequence[str]) -> tuple[Reference, ...]:
    """Return the references to datastores, each once, in order; InvalidValue for one that is malformed."""
    found: dict[str, Reference] = {}
    for argument in arguments:
        match = _REFERENCE.fullmatch(argument)
        if match is not None and match["text"] not in found:
            found[match["text"]] = _parse(match["text"])
    return tuple(found.values())


def substitute(arguments: Sequence[str], paths: Mapping[str, str]) -> tuple[str, ...]:
    """Return the arguments with each reference replaced by the path that `paths` has for its text."""
    return tuple(_substituted(argument, paths) for argument in arguments)


def parameters(arguments: Sequence[str]) -> dict[str, object]:
    """Return the options of an argument list: name without leading dashes → value, as JSON where it parses.

    An option without a value is True, one given several times has the list of its values. Words that belong to no
    option are no parameters, nor is anything after `--`.
    """
    given: dict[str, list[object]] = {}
    position = 0
    while position < len(arguments) and arguments[position] != "--":
        word = arguments[position]
        position += 1
        if not _is_option(word):
            continue
        name, equals, value = word.lstrip("-").partition("=")
        if equals:
            given.setdefault(name, []).append(_value(value))
        elif position < len(arguments) and not _is_option(arguments[position]) and arguments[position] != "--":
            given.setdefault(name, []).append(_value(arguments[position]))
            position += 1
        else:
            given.setdefault(name, []).append(True)
    return {name: values[0] if len(values) == 1 else values for name, values in given.items()}


def _parse(text: str) -> Reference:
    parts = text.split(":")[1:]
    version = parts[-1]
    if len(parts) not in (2, 3) or not re.fullmatch(r"[1-9][0-9]{0,8}", version):
        raise InvalidValue(
            f"{text!r} is no reference to a datastore",
            hint="write grid:<name>:<version>, such as grid:stl10:1; `grid datastore` lists what there is",
            field="arguments",
        )
    user = parts[0] if len(parts) == 3 else None
    if user == "":
        raise InvalidValue(f"{text!r} names no user", hint="write grid:<user>:<name>:<version>", field="arguments")
    return Reference(text=text, user=user, name=check_name(parts[-2], "datastore"), version=int(version))


def _substituted(argument: str, paths: Mapping[str, str]) -> str:
    match = _REFERENCE.fullmatch(argument)
    if match is None or match["text"] not in paths:
        return argument
    return f"{match['option'] or ''}{paths[match['text']]}{match['inside'] or ''}"


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
