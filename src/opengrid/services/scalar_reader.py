"""Reads what comes of event files, soon after it has come, and keeps what experiments' series have come to."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt
import structlog

from opengrid.core.errors import NotFound
from opengrid.core.records.scalars import EventFile, Scalar, Summary
from opengrid.planning.scalar_names import labels, series_name
from opengrid.planning.series import Points, extend, merge, summarise
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.event_files import EventFiles
from opengrid.services.event_records import decode
from opengrid.store.database import Database

log = structlog.get_logger(__name__)

#: What comes within this time is read together.
_TOGETHER_S = 0.3

#: Bytes of a file that are read at once.
_PIECE = 4 << 20


class ScalarReader:
    """Takes event files from agents, and reads them in a thread; whoever asks for series may be faster.

    `changed` hears of experiments whose series have grown.
    """

    def __init__(self, database: Database, files: EventFiles, *, changed: Callable[[str], None]) -> None:
        self._database, self._files, self._changed = database, files, changed
        self._grown: set[str] = set()
        self._some, self._stopped = threading.Event(), threading.Event()
        self._reading = [threading.Lock() for _ in range(64)]
        self._thread = threading.Thread(target=self._run, name="scalars", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; what it has not read is read when the server starts again."""
        self._stopped.set()
        self._some.set()
        self._thread.join()

    def receive(self, agent: AgentIdentity, *, node: int, path: str, generation: int, offset: int, data: bytes) -> int:
        """Append to a node's file, as EventFiles.append does, and have it read; return its new size."""
        experiment_id, size = self._files.append(
            agent, node=node, path=path, generation=generation, offset=offset, data=data
        )
        self._grown.add(experiment_id)
        self._some.set()
        return size

    def catch_up(self, experiment_ids: Collection[str]) -> None:
        """Read all that has come of experiments' files; return when that is done."""
        with self._database.read() as tx:
            files = tx.scalars.files_of(experiment_ids)
        for id in {file.experiment_id for file in files if self._has_more(file)}:
            self._catch_up(id)

    def _run(self) -> None:
        with self._database.read() as tx:
            unfinished = tx.scalars.readable_files()
        self._grown |= {file.experiment_id for file in unfinished if self._has_more(file)}
        while not self._stopped.is_set():
            while self._grown and not self._stopped.is_set():
                id = self._grown.pop()
                try:
                    self._catch_up(id)
                except Exception:  # one experiment's trouble must not keep others' series back
                    log.exception("cannot read event files", experiment=id)
            self._some.wait()
            self._some.clear()
            self._stopped.wait(_TOGETHER_S)

    def _has_more(self, file: EventFile) -> bool:
        return file.problem is None and self._files.size(file) > file.offset

    def _catch_up(self, experiment_id: str) -> None:
        is_changed = False
        with self._reading[hash(experiment_id) % len(self._reading)]:
            while self._read_more(experiment_id):
                is_changed = True
        if is_changed:
            self._changed(experiment_id)

    def _read_more(self, experiment_id: str) -> bool:
        """Read the next piece of every file that has more; return whether there was any."""
        try:
            with self._database.read() as tx:
                run_id = tx.runs.experiment_by_id(experiment_id).run_id
                files = tx.scalars.files(experiment_id)
                known = {scalar.tag: scalar for scalar in tx.scalars.of_experiment(experiment_id)}
        except NotFound:
            return False  # deleted meanwhile
        read = [self._read(file) if self._has_more(file) else (file, None) for file in files]
        if all(now is before for (now, _), before in zip(read, files, strict=True)):
            return False
        count = sum(file.points for file in files)
        added = np.concatenate([points for _, points in read if points is not None])
        self._files.save_points(experiment_id, count, added)
        new = labels(file for file, _ in read if file.points)
        now = [dataclasses.replace(file, label=new.get(file.number, "")) for file, _ in read]
        is_renamed = any(before.label != after.label for before, after in zip(files, now, strict=True) if before.points)
        series = Series(now, self._files.points(experiment_id, count + len(added)))
        if is_renamed:
            summaries = {name: summarise(series.whole(name)) for name in series.names}
        else:
            grown = [after for before, after in zip(files, now, strict=True) if after.points > before.points]
            summaries = _extended(known, series, Series(grown, added))
        with self._database.transaction() as tx:
            tx.scalars.save_files([after for before, after in zip(files, now, strict=True) if before != after])
            if is_renamed:
                tx.scalars.forget(experiment_id)
            tx.scalars.save(
                [
                    Scalar(experiment_id=experiment_id, run_id=run_id, tag=name, **dataclasses.asdict(summary))
                    for name, summary in summaries.items()
                ]
            )
        return True

    def _read(self, file: EventFile) -> tuple[EventFile, Points | None]:
        """Return a file as it is after its next piece, and the points in that; the same file when there is none."""
        data = self._files.read(file, _PIECE)
        found = decode(data, file.tags)
        if found.problem is not None:
            where = file.offset + found.consumed
            problem = f"at byte {where}: {found.problem}; what follows is left out"
        else:
            problem = None
        consumed = found.consumed
        if not consumed and problem is None:
            if len(data) != _PIECE or found.needed > self._files.size(file) - file.offset:
                return file, None
            consumed = found.needed  # of that size it holds no scalar
        points = found.points
        points["file"] = file.number
        after = dataclasses.replace(
            file,
            tags=found.tags,
            offset=file.offset + consumed,
            points=file.points + len(points),
            problem=problem,
            damaged=file.damaged + len(found.damaged),
            damaged_at=file.offset + found.damaged[0] if not file.damaged and found.damaged else file.damaged_at,
        )
        return after, points


class Series:
    """The series in an experiment's points."""

    def __init__(self, files: Sequence[EventFile], points: Points) -> None:
        self._points = points
        self._starts = {file.number: file.start for file in files}
        self._parts: dict[str, list[int]] = {}
        for file in files:
            for number, tag in enumerate(file.tags):
                self._parts.setdefault(series_name(tag, file.label), []).append(file.number << 32 | number)

    @cached_property
    def _keys(self) -> npt.NDArray[np.uint64]:
        return self._points["file"].astype(np.uint64) << np.uint64(32) | self._points["tag"]

    @property
    def names(self) -> list[str]:
        """Those that have points."""
        there = {int(key) for key in np.unique(self._keys)}
        return [name for name, parts in self._parts.items() if not there.isdisjoint(parts)]

    def whole(self, name: str) -> Points:
        """Return a series: by step, a later start's points in place of those that it did again."""
        parts = self._parts.get(name, [])
        if len(parts) == 1:
            return merge(self._points[self._keys == np.uint64(parts[0])], self._starts)
        return merge(self._points[np.isin(self._keys, np.array(parts, np.uint64))], self._starts)

    def starts(self, name: str) -> set[tuple[int, int]]:
        """Return the starts of the ranks in which a series was written."""
        return {self._starts[part >> 32] for part in self._parts.get(name, [])}


def _extended(known: Mapping[str, Summary], series: Series, added: Series) -> dict[str, Summary]:
    """Return what series have come to that got points; those that only grew at their end are not read as a whole."""
    found: dict[str, Summary] = {}
    for name in added.names:
        before, more = known.get(name), added.whole(name)
        is_newest = min(added.starts(name)) == max(series.starts(name))
        if before is not None and is_newest and more["step"][0] > before.last_step:
            found[name] = extend(before, more)
        else:
            found[name] = summarise(series.whole(name))
    return found
