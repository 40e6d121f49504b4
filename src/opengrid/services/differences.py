"""What of a run's tree everybody with an account may see: how it differs from its commit, and what is private in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from opengrid.core.errors import NotFound
from opengrid.core.masking import Masks
from opengrid.core.records.experiments import Run
from opengrid.core.sizes import size_text
from opengrid.planning.patches import without_secrets
from opengrid.services.sources import Sources

#: Who signs in, in a URL: at an index of a requirements file, at a git host. That is nobody for `git@`.
_SIGNED = re.compile(r"(?<=://)(?!git@)[^/@\s]+@")


class Differences:
    """Tells differences. `secrets_of` gives the values that a user keeps secret."""

    def __init__(self, sources: Sources, *, secrets_of: Callable[[str], Iterable[str]]) -> None:
        self._sources, self._secrets_of = sources, secrets_of

    def private_files(self, run: Run) -> tuple[str, ...]:
        """Return the files of a run's tree that are its owner's alone: credentials by their names, or with a secret."""
        return self._sources.private_files(run.spec.source, Masks(self._secrets_of(run.user)))

    def told(self, run: Run, *, most_bytes: int) -> str:
        """Return the difference, of whole files only, because one in which something is hidden would not apply.

        Files that look like credentials, or hold one of the owner's secrets, are named instead. Bytes that are no
        UTF-8 become escapes from which they can be had again. NotFound when there is none, or a longer one.
        """
        file = self._sources.patch(run.spec.source)
        size = file.stat().st_size
        if size > most_bytes:
            raise NotFound(
                f"the difference of {run.name} to its commit has {size_text(size)}: too much to be told",
                hint=f"`grid clone {run.name}` starts the same code again",
            )
        masks = Masks(self._secrets_of(run.user))
        patch = file.read_bytes().decode("utf-8", "surrogateescape")
        return without_secrets(patch, lambda text: masks.hide_text(unsigned(text)) != text)


def unsigned(text: str) -> str:
    """Return a text with stars for whoever signs in by its addresses."""
    return _SIGNED.sub("****@", text)
