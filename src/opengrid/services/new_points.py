"""What has come of an experiment's event files becomes points, and what its series have come to.

Loads numpy: import it where there is something to read.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from opengrid.core.errors import NotFound
from opengrid.core.records.scalars import EventFile, Scalar, Summary
from opengrid.planning.scalar_names import labels
from opengrid.planning.series import Points, extend, summarise
from opengrid.services.event_files import EventFiles
from opengrid.services.event_records import decode
from opengrid.services.series import Series
from opengrid.store.database import Database

#: Bytes of a file that are read at once.
_PIECE = 4 << 20


def read_more(database: Database, event_files: EventFiles, experiment_id: str) -> bool:
    """Read the next piece of every file that has more; return whether there was any."""
    try:
        with database.read() as tx:
            run_id = tx.runs.experiment_by_id(experiment_id).run_id
            files = tx.scalars.files(experiment_id)
            known = {scalar.tag: scalar for scalar in tx.scalars.of_experiment(experiment_id)}
    except NotFound:
        return False  # deleted meanwhile
    read = [_read(event_files, file) if event_files.has_more(file) else (file, None) for file in files]
    if all(now is before for (now, _), before in zip(read, files, strict=True)):
        return False
    count = sum(file.points for file in files)
    added = np.concatenate([points for _, points in read if points is not None])
    event_files.save_points(experiment_id, count, added)
    new = labels(file for file, _ in read if file.points)
    now = [dataclasses.replace(file, label=new.get(file.number, "")) for file, _ in read]
    is_renamed = any(before.label != after.label for before, after in zip(files, now, strict=True) if before.points)
    series = Series(now, event_files.points(experiment_id, count + len(added)))
    if is_renamed:
        summaries = {name: summarise(series.whole(name)) for name in series.names}
    else:
        grown = [after for before, after in zip(files, now, strict=True) if after.points > before.points]
        summaries = _extended(known, series, Series(grown, added))
    with database.transaction() as tx:
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


def _read(event_files: EventFiles, file: EventFile) -> tuple[EventFile, Points | None]:
    """Return a file as it is after its next piece, and the points in that; the same file when there is none."""
    data = event_files.read(file, _PIECE)
    found = decode(data, file.tags)
    if found.problem is not None:
        where = file.offset + found.consumed
        problem = f"at byte {where}: {found.problem}; what follows is left out"
    else:
        problem = None
    consumed = found.consumed
    if not consumed and problem is None:
        if len(data) != _PIECE or found.needed > event_files.size(file) - file.offset:
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
