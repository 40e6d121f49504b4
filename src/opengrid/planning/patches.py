"""What everybody may see of a patch: some of its files as they are, of the others their names."""

from __future__ import annotations

import re
from collections.abc import Callable

from opengrid.core.credentials import is_credential

#: No line of a patch's contents begins like this, neither of text nor of bytes.
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)

#: A path that is the same before and after, in quotes where git needs them.
_PATH = re.compile(r'diff --git "?a/(?P<path>.+?)"? "?b/(?P=path)"?\n')


def without_secrets(patch: str, holds_secret: Callable[[str], bool]) -> str:
    """Return a patch without files that are credentials by their names, or hold a secret by all that is said of them.

    Those are named before it, with the others that are only in the bundle. What is left is as it was.
    """
    head, *files = _FILE.split(patch)
    judged = [(file, _path(file)) for file in files]
    reasons = [
        "credentials, by its name" if is_credential(path) else "holds a secret" if holds_secret(file) else None
        for file, path in judged
    ]
    named = [f'only in the bundle: "{path}" ({why})\n' for (_, path), why in zip(judged, reasons, strict=True) if why]
    return "".join([head, *named, *(file for (file, _), why in zip(judged, reasons, strict=True) if why is None)])


def _path(file: str) -> str:
    found = _PATH.match(file)
    return found["path"] if found else file.partition("\n")[0]
