"""An experiment's points as series, and what of them is drawn. Loads numpy: import it where there are points."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from opengrid.core.records.scalars import EventFile
from opengrid.planning.scalar_names import series_name
from opengrid.planning.series import POINT, Points, inside, merge, sample
from opengrid.planning.viewport import Viewport, not_finite_text
from opengrid.services.documents.scalars import SeriesDocument


def stored_points(path: Path, count: int) -> Points:
    """Return the first points of a file of points, without loading those nobody looks at."""
    return np.memmap(path, POINT, "r", shape=(count,)) if count else np.zeros(0, POINT)


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


def drawn_series(
    experiment: str, files: Sequence[EventFile], points: Points, known: int, tags: Sequence[str], viewport: Viewport
) -> list[SeriesDocument]:
    """Return the series with these tags in a viewport, of those that have more than the first `known` points."""
    now, old, new = (Series(files, part) for part in (points, points[:known], points[known:]))
    changed = set(new.names) if known else set(tags)
    start, found = float(points["time"].min()), list[SeriesDocument]()
    for tag in dict.fromkeys(tags):
        whole, is_append = now.whole(tag) if tag in changed else points[:0], False
        if not len(whole):
            continue
        if known:
            first, before = int(new.whole(tag)["step"][0]), old.whole(tag)
            is_append = bool(len(before)) and first > int(before["step"][-1])
            whole = whole[np.searchsorted(whole["step"], first) :] if is_append else whole
        found.append(series_document(experiment, tag, whole, viewport, start=start, is_append=is_append))
    return found


def series_document(
    experiment: str, tag: str, series: Points, viewport: Viewport, *, start: float, is_append: bool
) -> SeriesDocument:
    """Return what of a series is drawn in a viewport; `start` is when the experiment's first point was made."""
    seen = inside(series, viewport, start)
    drawn = sample(seen, viewport)
    values: npt.NDArray[np.float64] = drawn["value"]
    strange = np.flatnonzero(~np.isfinite(values))
    numbers: list[float | None] = values.tolist()
    for place in strange.tolist():
        numbers[place] = None
    return SeriesDocument(
        experiment=experiment,
        tag=tag,
        start=start,
        total=len(seen),
        steps=drawn["step"].tolist(),
        times=np.round(drawn["time"], 3).tolist(),
        values=numbers,
        not_finite=[(place, not_finite_text(float(values[place])) or "") for place in strange.tolist()],
        is_append=is_append,
    )
