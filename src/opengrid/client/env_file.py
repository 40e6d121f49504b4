"""Files of `--env_file`: a variable a line, as docker and shells write them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from opengrid.core.errors import InvalidValue

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)", re.ASCII)


def variables_of_files(paths: Sequence[str]) -> dict[str, str]:
    """Return the variables of files, of which later ones win; InvalidValue names the line that is none."""
    found: dict[str, str] = {}
    for path in paths:
        try:
            text = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise InvalidValue(f"--env_file {path}: {reason}", field="env_file") from None
        found |= read_variables(text, path)
    return found


def read_variables(text: str, origin: str) -> dict[str, str]:
    """Return the variables in a text: KEY=VALUE, `export` before and quotes around as in a shell; nothing is executed.

    InvalidValue names the line, but not what stands in it: it may be a secret.
    """
    found: dict[str, str] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise InvalidValue(f"{origin}, line {number}: it is no KEY=VALUE", field="env_file")
        found[match["name"]] = _unquoted(match["value"], f"{origin}, line {number}")
    return found


def _unquoted(value: str, where: str) -> str:
    if not value.startswith(("'", '"')):
        return re.sub(r"(^|\s+)#.*$", "", value)
    try:
        words = shlex.split(value, comments=True)
    except ValueError:
        words = []
    if len(words) != 1:
        raise InvalidValue(f"{where}: the quotes around the value do not match", field="env_file")
    return words[0]
