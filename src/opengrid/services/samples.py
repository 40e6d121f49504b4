"""What agents have measured of ranks, GPUs and machines: taken by offset, kept beside logs, answered as series.

One file per (attempt, generation, machine), of records of core.samples.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opengrid.core.errors import InvalidValue
from opengrid.core.gang import Gang
from opengrid.core.samples import RECORD, Quantity, parse_series, series_name
from opengrid.planning.series import POINT, Viewport
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.documents.system import SystemDocument, SystemRow
from opengrid.services.growing import GrowingFiles
from opengrid.services.scalars import SeriesAnswer, SeriesDocument, SeriesRequest, series_document
from opengrid.services.views import at_text
from opengrid.store.database import Database, Transaction

_SAMPLE = np.dtype([("time", "<f8"), ("quantity", "<u2"), ("number", "<u2"), ("value", "<f4")])
_SUFFIX = ".samples"
_CURSOR = re.compile(r"\d+\.\d+\.\d+:\d+( \d+\.\d+\.\d+:\d+)*")

_Records = npt.NDArray[np.void]


@dataclass(frozen=True, slots=True)
class _File:
    """What one agent has measured in one generation."""

    path: Path
    attempt: int
    generation: int
    machine: int
    count: int  #: of whole records

    @property
    def name(self) -> str:
        return f"{self.attempt}.{self.generation}.{self.machine}"

    def read(self, first: int = 0) -> _Records:
        if first >= self.count:
            return np.zeros(0, _SAMPLE)
        return np.memmap(self.path, _SAMPLE, "r", offset=first * RECORD.size, shape=(self.count - first,))


class Samples:
    """All samples of this server; `root` is where logs are, so that they go with them."""

    def __init__(self, database: Database, root: Path) -> None:
        self._database, self._root = database, root
        self._growing = GrowingFiles(root)
        self._came: dict[str, int] = {}  #: bytes of each attempt under way since this server has started

    def append(self, agent: AgentIdentity, generation: int, *, offset: int, data: bytes) -> int:
        """Append to a machine's file when it ends at `offset`, else raise OffsetMismatch; return its new size."""
        if generation < 1:
            raise InvalidValue(f"there is no generation {generation}")
        path = self._root / agent.attempt_id / str(generation) / f"{agent.machine}{_SUFFIX}"
        size = self._growing.append(path, data, offset=offset)
        self._came[agent.attempt_id] = self._came.get(agent.attempt_id, 0) + len(data)
        return size

    def forget(self, attempt_id: str) -> None:
        """Know that nothing more comes of an attempt."""
        self._came.pop(attempt_id, None)

    def version(self, tx: Transaction, name: str) -> str:
        """Return what is another text whenever something was measured of an experiment; NotFound without one."""
        attempts = tx.attempts.of_experiment(tx.runs.experiment(name).id)
        return str([self._came.get(attempt.id, 0) for attempt in attempts])

    def now(self, name: str) -> SystemDocument:
        """Return what each series of an experiment has come to, of those that its newest start has."""
        with self._database.read() as tx:
            gang, files = self._files(tx, name)
        newest = max(((file.attempt, file.generation) for file in files), default=None)
        rows: list[SystemRow] = []
        for file in files:
            if (file.attempt, file.generation) == newest:
                rows += _last(file.read(max(0, file.count - _most(gang))))
        rows.sort(key=lambda row: (_SUBJECTS.index(row.subject), row.number))
        return SystemDocument(experiment=name, series=rows)

    def series(self, request: SeriesRequest) -> SeriesAnswer:
        """Return series inside a viewport, as Scalars.series does; a series' steps are its samples, from 0."""
        viewport = Viewport(axis=request.x, start=request.min, end=request.max, pixels=request.pixels)
        answer = SeriesAnswer(series=[], cursors={}, reset=[])
        for name in dict.fromkeys(request.experiments):
            with self._database.read() as tx:
                gang, files = self._files(tx, name)
            answer.cursors[name] = " ".join(f"{file.name}:{file.count}" for file in files)
            known = _known(request.since.get(name, ""), files)
            if known is None:
                answer.reset.append(name)
            start = min((float(file.read()[0]["time"]) for file in files if file.count), default=0.0)
            for tag in dict.fromkeys(request.tags):
                found = _one(name, tag, gang, files, known or {}, viewport, start)
                if found is not None:
                    answer.series.append(found)
        return answer

    def _files(self, tx: Transaction, name: str) -> tuple[Gang, list[_File]]:
        """Return an experiment's gang, and its files in the order in which they were begun."""
        experiment = tx.runs.experiment(name)
        gang = tx.runs.find_by_id(experiment.run_id).plan.gang
        found = [
            _File(
                path=path,
                attempt=attempt.number,
                generation=int(path.parent.name),
                machine=int(path.stem),
                count=path.stat().st_size // RECORD.size,
            )
            for attempt in tx.attempts.of_experiment(experiment.id)
            for path in (self._root / attempt.id).glob(f"*/*{_SUFFIX}")
        ]
        return gang, sorted(found, key=lambda file: (file.attempt, file.generation, file.machine))


_SUBJECTS = ("machine", "rank", "gpu")
_QUANTITIES = {quantity.value.code: quantity for quantity in Quantity}


def _most(gang: Gang) -> int:
    """Return how many records the samples of one moment have at most, of one machine."""
    return len(Quantity) * (1 + gang.world_size + sum(node.gpus for node in gang.nodes))


def _last(records: _Records) -> list[SystemRow]:
    """Return the newest sample of each series that was measured at the last moment."""
    if not len(records):
        return []
    last = records[records["time"] == records["time"][-1]]
    return [
        SystemRow(
            name=series_name(quantity, int(record["number"])),
            subject=quantity.value.subject,
            number=int(record["number"]),
            quantity=quantity.value.name,
            unit=quantity.value.unit,
            value=round(float(record["value"]), 2),
            at=at_text(round(float(record["time"]) * 1e6)),
        )
        for record in last
        if (quantity := _QUANTITIES.get(int(record["quantity"]))) is not None
    ]


def _one(
    experiment: str,
    tag: str,
    gang: Gang,
    files: Sequence[_File],
    known: dict[str, int],
    viewport: Viewport,
    start: float,
) -> SeriesDocument | None:
    parsed = parse_series(tag)
    if parsed is None:
        raise InvalidValue(f"{tag!r} is no series", hint="such as rank/0/cpu or machine/1/memory", field="tags")
    quantity, number = parsed
    machine = _machine_of(gang, quantity.value.subject, number)
    parts: list[_Records] = []
    before = 0
    for file in files:
        if file.machine != machine:
            continue
        records = file.read()
        chosen = (records["quantity"] == quantity.value.code) & (records["number"] == number)
        seen = int(np.count_nonzero(chosen[: known.get(file.name, 0)]))
        before += seen
        parts.append(records[chosen][seen:])
    found = np.concatenate(parts) if parts else np.zeros(0, _SAMPLE)
    if not len(found):
        return None
    points = np.zeros(len(found), POINT)
    points["step"] = np.arange(before, before + len(found))
    points["time"], points["value"] = found["time"], found["value"]
    return series_document(experiment, tag, points, viewport, start=start, is_append=before > 0)


def _machine_of(gang: Gang, subject: str, number: int) -> int | None:
    """Return the machine that measures something; None where the gang has no such thing."""
    if subject == "machine":
        return number
    per_node = gang.nodes[0].ranks if subject == "rank" else gang.nodes[0].gpus
    node = number // per_node if per_node else len(gang.nodes)
    return gang.nodes[node].machine if node < len(gang.nodes) else None


def _known(since: str, files: Sequence[_File]) -> dict[str, int] | None:
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
