"""Uploads that this host has begun: each has a file, which the command that works on it holds locked."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """An upload that was begun and is not through."""

    upload: str  #: its name on the server
    name: str
    version: int
    source: str


class Uploads:
    """The uploads of this host, and what is remembered of their sources."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def journal(self, source: str) -> Path:
        """Return the file that remembers the digests of a source's files."""
        return self._folder / "digests" / f"{hashlib.sha256(os.fsencode(source)).hexdigest()[:32]}.jsonl"

    def unfinished(self) -> list[UnfinishedUpload]:
        """Return the uploads that no living command works on, oldest first."""
        found: list[UnfinishedUpload] = []
        for path in sorted(self._folder.glob("*.json"), key=_modified):
            with contextlib.suppress(BlockingIOError), self._locked(path):
                record = _read(path)
                if record is not None:
                    found.append(record)
        return found

    @contextlib.contextmanager
    def held(self, record: UnfinishedUpload) -> Generator[None]:
        """Work on an upload, which is forgotten when the block ends without an error.

        BlockingIOError when another command works on it.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / f"{record.upload}.json"
        with self._locked(path):
            document = {"name": record.name, "version": record.version, "source": record.source}
            path.write_text(json.dumps(document))
            yield
            path.unlink(missing_ok=True)

    def forget(self, record: UnfinishedUpload) -> None:
        """Forget an upload that the server does not know any more."""
        (self._folder / f"{record.upload}.json").unlink(missing_ok=True)

    def clear(self) -> int:
        """Forget all digests; return the bytes that they took."""
        folder = self._folder / "digests"
        size = sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0
        shutil.rmtree(folder, ignore_errors=True)
        return size

    @contextlib.contextmanager
    def _locked(self, path: Path) -> Generator[None]:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        finally:
            os.close(descriptor)


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(path: Path) -> UnfinishedUpload | None:
    try:
        said = cast("dict[str, object]", json.loads(path.read_text()))
        version = int(str(said["version"]))
        return UnfinishedUpload(upload=path.stem, name=str(said["name"]), version=version, source=str(said["source"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
