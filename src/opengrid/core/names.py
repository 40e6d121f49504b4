"""The names that users give and see, and their rules."""

from __future__ import annotations

import re
from collections.abc import Sequence

from opengrid.core.errors import InvalidValue

#: A folder beside a node's own files in which only we write, and only in the names that the server is told.
OWN_FOLDER = ".opengrid"

_NAME = re.compile(r"[a-z](?:[a-z0-9-]*[a-z0-9])?")
_EXPERIMENT = re.compile(r"(?P<run>.+)-exp(?P<index>0|[1-9][0-9]*)")
_RESERVED_END = re.compile(r"exp[0-9]+$")
_USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
#: A variable that ranks see, or a git host that the server reads repositories from.
_SECRET = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}|git@[A-Za-z0-9][A-Za-z0-9.-]{0,252}", re.ASCII)
_LABEL_KEY = re.compile(r"[A-Za-z0-9_.-]{1,63}")
_MAX_LENGTH, _MAX_LABEL = 100, 255


def printable(text: str) -> str:
    """Return a text on one line, with what would steer a terminal as Python writes it: scripts choose names."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)


def named(names: Sequence[str], most: int = 5) -> str:
    """Return names as a list for people, of which only the first ones are told."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(printable, names[:most])) + more


def check_run_name(name: str) -> str:
    """Return `name` when a run may carry it; raise InvalidValue with the rule that it breaks."""
    check_name(name, "run")
    if _RESERVED_END.search(name):
        raise InvalidValue(
            f"the run name {name!r} ends like an experiment's name",
            hint="names ending in exp<number> belong to experiments: choose another ending",
            field="name",
        )
    return name


def check_name(name: str, what: str) -> str:
    """Return `name` when it obeys the rule that runs and datastores share; `what` is the word for the message."""
    if not _NAME.fullmatch(name) or len(name) > _MAX_LENGTH:
        raise InvalidValue(
            f"{name!r} cannot name a {what}",
            hint=f"lower-case letters, digits and '-'; a letter first, a letter or digit last; at most {_MAX_LENGTH}",
            field="name",
        )
    return name


def check_user_name(name: str) -> str:
    """Return `name` when an account may carry it; raise InvalidValue with the rule that it breaks."""
    if not _USER.fullmatch(name):
        raise InvalidValue(
            f"{name!r} cannot name a user",
            hint="lower-case letters, digits, '.', '_' and '-'; a letter or digit first; at most 64",
            field="name",
        )
    return name


def check_secret_name(name: str) -> None:
    """Raise InvalidValue when a secret cannot have this name."""
    if not _SECRET.fullmatch(name):
        raise InvalidValue(
            f"{name!r} cannot name a secret",
            hint="a variable's name, such as WANDB_API_KEY; or git@HOST for the token of a git host",
            field="secret",
        )


def check_label(key: str, value: str) -> None:
    """Raise InvalidValue when a run cannot carry this label."""
    if not _LABEL_KEY.fullmatch(key):
        raise InvalidValue(
            f"{key!r} cannot be a label's key", hint="letters, digits, '_', '-' and '.'; at most 63", field="labels"
        )
    if len(value) > _MAX_LABEL or not value.isprintable():
        raise InvalidValue(
            f"the value of label {key!r} has {len(value)} characters, or some that cannot be printed",
            hint=f"at most {_MAX_LABEL} printable ones",
            field="labels",
        )


def parse_labels(texts: Sequence[str], *, needs_value: bool) -> dict[str, str | None]:
    """Return labels typed as `key=value`, or, unless a value is needed, as `key` for any value.

    InvalidValue for what is none, and for a key that stands twice.
    """
    found: dict[str, str | None] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if needs_value and not equals:
            raise InvalidValue(f"--label {text}: a value is missing", hint="--label key=value", field="labels")
        check_label(key, value)
        if key in found:
            raise InvalidValue(f"--label {key} stands twice", hint="a run has one value of each", field="labels")
        found[key] = value if equals else None
    return found


def experiment_name(run: str, index: int) -> str:
    """Return the name of a run's experiment; `index` counts from 0."""
    return f"{run}-exp{index}"


def split_experiment_name(name: str) -> tuple[str, int] | None:
    """Return (run, index) when `name` reads as an experiment's name, else None."""
    match = _EXPERIMENT.fullmatch(name)
    return (match["run"], int(match["index"])) if match else None


def datastore_name_of(source: str) -> str:
    """Return the default datastore name of a path or URL: its last element, lower-cased, cut at the first dot."""
    last = source.split("?", maxsplit=1)[0].rstrip("/").rsplit("/", 1)[-1].lower()
    return last.split(".")[0] or last.lstrip(".")
