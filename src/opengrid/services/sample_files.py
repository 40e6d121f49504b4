"""The files of an experiment's samples: which there are, and how much of them somebody knows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.errors import InvalidValue
from opengrid.core.records.attempts import Attempt
from opengrid.core.samples import RECORD

_SUFFIX = ".samples"
_CURSOR = re.compile(r"\d+\.\d+\.\d+:\d+( \d+\.\d+\.\d+:\d+)*")


@dataclass(frozen=True, slots=True)
class SampleFile:
    """What one agent has measured in one generation."""

    path: Path
    attempt: int
    generation: int
    machine: int
    count: int  #: of whole records

    @property
    def name(self) -> str:
        """What it is called in a cursor."""
        return f"{self.attempt}.{self.generation}.{self.machine}"


def place_of(root: Path, attempt_id: str, generation: int, machine: int) -> Path:
    """Return where a machine's samples of one generation lie."""
    return root / attempt_id / str(generation) / f"{machine}{_SUFFIX}"


def files_of(root: Path, attempts: Iterable[Attempt]) -> list[SampleFile]:
    """Return the files of attempts in the order in which they were begun."""
    found = [
        SampleFile(
            path=path,
            attempt=attempt.number,
            generation=int(path.parent.name),
            machine=int(path.stem),
            count=path.stat().st_size // RECORD.size,
        )
        for attempt in attempts
        for path in (root / attempt.id).glob(f"*/*{_SUFFIX}")
    ]
    return sorted(found, key=lambda file: (file.attempt, file.generation, file.machine))


def cursor_of(files: Iterable[SampleFile]) -> str:
    """Return what tells how many records of each file somebody knows."""
    return " ".join(f"{file.name}:{file.count}" for file in files)


def known_records(since: str, files: Sequence[SampleFile]) -> dict[str, int] | None:
    """Return how many records somebody knows of each file; None when there are more before those that are known."""
    if not since:
        return {}
    if not _CURSOR.fullmatch(since):
        raise InvalidValue(f"{since!r} is no cursor", field="since")
    known = {name: int(count) for name, _, count in (part.partition(":") for part in since.split(" "))}
    seen = [file for file in files if file.name in known]
    last = {file.machine: file.name for file in seen}
    whole = all(file.count == known[file.name] or file.name == last[file.machine] for file in seen)
    return known if whole else None
