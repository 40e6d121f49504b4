"""Tokens in files, as commands are given them."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from opengrid.cli.output import note
from opengrid.core.errors import InvalidValue

_HINT = "put the token there, and nothing else"


def read_token_file(name: str) -> str:
    """Return the token in a file; InvalidValue when there is none. Who lets others read it is told so."""
    path = Path(name).expanduser()
    try:
        text = path.read_text().strip()
        mode = path.stat().st_mode
    except OSError as error:
        raise InvalidValue(f"--token-file {name} cannot be read: {error.strerror}", field="token") from error
    except UnicodeDecodeError as error:
        raise InvalidValue(f"--token-file {name} is no text", hint=_HINT, field="token") from error
    if not text:
        raise InvalidValue(f"--token-file {name} is empty", hint=_HINT, field="token")
    if len(text.split()) > 1 or not text.isprintable():
        raise InvalidValue(f"--token-file {name} holds more than a token", hint=_HINT, field="token")
    if os.name == "posix" and stat.S_ISREG(mode) and mode & 0o077:
        note(f"others on this computer can read {name}: `chmod 600 {shlex.quote(name)}`")
    return text
