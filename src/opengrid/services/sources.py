"""The users' trees: bundles stored by content, and what the server reads out of them."""

from __future__ import annotations

import mmap
import posixpath
import tarfile
from collections.abc import Callable, Generator, Hashable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.credentials import is_credential
from opengrid.core.errors import Forbidden, NotFound
from opengrid.core.masking import Masks
from opengrid.core.spec import Program, ProgramKind, Source
from opengrid.store.database import Database

#: Texts longer than this are none that anybody wrote.
_MAX_TEXT = 4 << 20

#: Links that lead from one to the next, at most.
_MOST_LINKS = 8


class Sources:
    """Bundles and what is in them."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database, self._blobs = database, blobs
        self._private: dict[tuple[str, Hashable], tuple[str, ...]] = {}  #: by bundle, which never changes, and secrets

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

    def private_files(self, source: Source, secrets: Masks) -> tuple[str, ...]:
        """Return which files of a tree are credentials by their names, or hold a secret."""
        if source.bundle is None:
            return ()
        key = (source.bundle, secrets.key)
        if key not in self._private:
            self._private[key] = tuple(_private_in(self._blobs.path(source.bundle), secrets))
        return self._private[key]

    def program_text(self, program: Program, source: Source) -> str:
        """Return the text of a Python program in its bundle, "" for other kinds; NotFound when it is not in there."""
        if program.kind is ProgramKind.EXECUTABLE or source.bundle is None:
            return ""
        names = [posixpath.normpath(posixpath.join(source.directory, name)) for name in _candidates(program)]
        with texts(self._blobs.path(source.bundle)) as text_of:
            for name in names:
                text = text_of(name)
                if text is not None:
                    return text
        if program.kind is ProgramKind.MODULE:
            return ""  # an installed module: the ranks' interpreter finds it, we need not
        raise NotFound(f"no {names[0]} in the tree at {source.root}", hint="is the script ignored by git?")


def _private_in(bundle: Path, secrets: Masks) -> Iterator[str]:
    with (
        tarfile.open(bundle, "r:") as archive,
        bundle.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        for member in archive:
            holds_secret = member.isreg() and secrets.reads(data, member.offset_data, member.offset_data + member.size)
            if holds_secret or (is_credential(member.name) and not member.isdir()):
                yield member.name


@contextmanager
def texts(bundle: Path) -> Generator[Callable[[str], str | None]]:
    """Give what returns the text of a file in a bundle, or of what a link there leads to.

    None for all else, and for long ones.
    """
    with tarfile.open(bundle, "r:") as archive:  # whose list of members takes time, and is made once
        yield partial(_text_in, archive)


def _text_in(archive: tarfile.TarFile, path: str) -> str | None:
    for _ in range(_MOST_LINKS):
        try:
            member = archive.getmember(posixpath.normpath(path))
        except KeyError:
            return None
        if member.issym():
            path = posixpath.join(posixpath.dirname(member.name), member.linkname)
            continue
        file = archive.extractfile(member) if member.isreg() and member.size <= _MAX_TEXT else None
        return file.read().decode("utf-8", "replace") if file is not None else None
    return None


def _candidates(program: Program) -> list[str]:
    if program.kind is ProgramKind.SCRIPT:
        return [program.target]
    path = program.target.replace(".", "/")
    return [f"{path}.py", f"{path}/__main__.py"]
