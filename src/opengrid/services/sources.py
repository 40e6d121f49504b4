"""The users' trees: bundles stored by content, and what the server reads out of them."""

from __future__ import annotations

import posixpath
import tarfile
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import Forbidden, NotFound
from opengrid.core.spec import Program, ProgramKind, Source
from opengrid.store.database import Database

#: Scripts longer than this are data with a .py ending; what they import is not looked up.
_MAX_SCRIPT = 4 << 20


class Sources:
    """Bundles and what is in them."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self._blobs = database, blobs

    def bundle_of_attempt(self, attempt_id: str, digest: str) -> Path:
        """Return where a bundle lies, for an agent whose attempt runs it; Forbidden for any other blob."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(tx.attempts.find(attempt_id).experiment_id)
            allowed = tx.runs.find_by_id(experiment.run_id).spec.source.bundle
        if digest != allowed:
            raise Forbidden("this attempt does not run that bundle")
        return self._blobs.path(digest)

    def patch(self, source: Source) -> Path:
        """Return where the difference of a tree to its commit lies; NotFound when there is none."""
        if source.patch is None:
            raise NotFound(f"{source.line} has no difference to a commit")
        return self._blobs.path(source.patch)

    def program_text(self, program: Program, source: Source) -> str:
        """Return the text of a Python program in its bundle, "" for other kinds; NotFound when it is not in there."""
        if program.kind is ProgramKind.EXECUTABLE or source.bundle is None:
            return ""
        names = [posixpath.normpath(posixpath.join(source.directory, name)) for name in _candidates(program)]
        with tarfile.open(self._blobs.path(source.bundle), "r:") as bundle:
            for name in names:
                try:
                    member = bundle.getmember(name)
                except KeyError:
                    continue
                file = bundle.extractfile(member)
                if file is not None and member.size <= _MAX_SCRIPT:
                    return file.read().decode("utf-8", "replace")
        if program.kind is ProgramKind.MODULE:
            return ""  # an installed module: the ranks' interpreter finds it, we need not
        raise NotFound(f"no {names[0]} in the tree at {source.root}", hint="is the script ignored by git?")


def _candidates(program: Program) -> list[str]:
    if program.kind is ProgramKind.SCRIPT:
        return [program.target]
    path = program.target.replace(".", "/")
    return [f"{path}.py", f"{path}/__main__.py"]
