"""What is in files of samples: the newest of each series, and series for charts. Loads numpy, as series.py does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from opengrid.core.errors import InvalidValue
from opengrid.core.gang import Gang
from opengrid.core.samples import RECORD, Quantity, parse_series, series_name
from opengrid.planning.series import POINT
from opengrid.planning.viewport import Viewport
from opengrid.services.documents.scalars import SeriesDocument
from opengrid.services.documents.system import SystemRow
from opengrid.services.sample_files import SampleFile
from opengrid.services.series import series_document
from opengrid.services.views import at_text

_SAMPLE = np.dtype([("time", "<f8"), ("quantity", "<u2"), ("number", "<u2"), ("value", "<f4")])

_Records = npt.NDArray[np.void]

_SUBJECTS = ("machine", "rank", "gpu")
_QUANTITIES = {quantity.value.code: quantity for quantity in Quantity}


def newest_samples(gang: Gang, files: Sequence[SampleFile]) -> list[SystemRow]:
    """Return what each series has come to, of those that the newest start has."""
    newest = max(((file.attempt, file.generation) for file in files), default=None)
    rows: list[SystemRow] = []
    for file in files:
        if (file.attempt, file.generation) == newest:
            rows += _last(_read(file, max(0, file.count - _most(gang))))
    return sorted(rows, key=lambda row: (_SUBJECTS.index(row.subject), row.number))


def first_time(files: Sequence[SampleFile]) -> float:
    """Return when the first sample was taken."""
    return min((float(_read(file)[0]["time"]) for file in files if file.count), default=0.0)


def measured_series(
    experiment: str,
    tag: str,
    gang: Gang,
    files: Sequence[SampleFile],
    known: Mapping[str, int],
    viewport: Viewport,
    start: float,
) -> SeriesDocument | None:
    """Return one series inside a viewport, without the records that are `known` of each file; None without a sample."""
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
        records = _read(file)
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


def _read(file: SampleFile, first: int = 0) -> _Records:
    if first >= file.count:
        return np.zeros(0, _SAMPLE)
    return np.memmap(file.path, _SAMPLE, "r", offset=first * RECORD.size, shape=(file.count - first,))


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


def _machine_of(gang: Gang, subject: str, number: int) -> int | None:
    """Return the machine that measures something; None where the gang has no such thing."""
    if subject == "machine":
        return number
    per_node = gang.nodes[0].ranks if subject == "rank" else gang.nodes[0].gpus
    node = number // per_node if per_node else len(gang.nodes)
    return gang.nodes[node].machine if node < len(gang.nodes) else None
