"""What everybody may see of a patch: some of its files as they are, of the others their names."""

from __future__ import annotations

import re
from collections.abc import Callable

#: No line of a patch's contents begins like this, neither of text nor of bytes.
_FILE = re.compile(r"^(?=diff --git )", re.MULTILINE)

#: A path that is the same before and after, in quotes where git needs them.
_PATH = re.compile(r'diff --git "?a/(?P<path>.+?)"? "?b/(?P=path)"?\n')


def without_files(patch: str, is_private: Callable[[str], bool]) -> str:
    """Return a patch without its private files, each judged by all that is said of it; what is left is as it was.

    Those are named before it, with the others that are only in the bundle.
    """
    head, *files = _FILE.split(patch)
    judged = [(file, is_private(file)) for file in files]
    named = [f'only in the bundle: "{_path(file)}" (holds a secret)\n' for file, is_left_out in judged if is_left_out]
    return "".join([head, *named, *(file for file, is_left_out in judged if not is_left_out)])


def _path(file: str) -> str:
    found = _PATH.match(file)
    return found["path"] if found else file.partition("\n")[0]
