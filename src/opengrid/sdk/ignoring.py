"""What a plain folder leaves out: its .gridignore, or without one its .gitignore and .dockerignore."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from opengrid.client.tree import IGNORING
from opengrid.core.errors import InvalidValue

_OWN, *_OTHERS = IGNORING


def ignored_in(root: Path) -> Callable[[str], bool] | None:
    """Return whether a path below `root` is left out, a folder's with `/` at its end; None when no file says anything.

    All are read as gitignore files; patterns of .dockerignore count from the root, as docker reads them. InvalidValue
    names file and line of a pattern that is none.
    """
    names = [_OWN] if (root / _OWN).is_file() else [name for name in _OTHERS if (root / name).is_file()]
    if not names:
        return None
    import pathspec  # the usual source, a git checkout, does without

    return pathspec.GitIgnoreSpec.from_lines([line for name in names for line in _lines(root / name)]).match_file


def _lines(file: Path) -> Iterator[str]:
    import pathspec

    try:
        lines = file.read_text(errors="surrogateescape").splitlines()
    except OSError as error:
        raise InvalidValue(f"{file} cannot be read: {error.strerror}") from error
    for number, line in enumerate(lines, 1):
        text = _from_root(line) if file.name == ".dockerignore" else line
        try:
            pathspec.GitIgnoreSpec.from_lines([text])
        except (ValueError, re.error) as error:
            raise InvalidValue(f"{file}, line {number}: {line!r} is no pattern ({error})") from error
        yield text


def _from_root(line: str) -> str:
    text = line.strip()
    mark = "!" if text.startswith("!") else ""
    pattern = text.removeprefix("!").lstrip("/")
    return f"{mark}/{pattern}" if pattern and not text.startswith("#") else text
