"""What becomes of the points that a training's processes have written: series, what is told of them, what is drawn."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from opengrid.core.records.scalars import Summary
from opengrid.planning.viewport import Viewport, not_finite_text

#: One scalar that a process wrote: as it lies on the server's disk.
POINT = np.dtype([("step", "<i8"), ("time", "<f8"), ("value", "<f8"), ("file", "<u4"), ("tag", "<u4")])

Points = npt.NDArray[np.void]


def merge(points: Points, start_of: Mapping[int, tuple[int, int]]) -> Points:
    """Return one series by step, one point a step, of points in the order in which they came.

    `start_of` tells of each file in which start of the ranks (attempt, generation) it was written. What a later start
    writes takes the place of everything from its first step on: a training that went on from a checkpoint does the
    steps after it again. Of several points of one start at one step the last stands.
    """
    files = np.unique(points["file"])
    starts = sorted({start_of[int(file)] for file in files})
    if len(starts) > 1:
        rank = np.zeros(int(files[-1]) + 1, np.int64)
        rank[files] = [starts.index(start_of[int(file)]) for file in files]
        ranks = rank[points["file"]]
        points = points[np.argsort(ranks, kind="stable")]
        ranks = np.sort(ranks)
        until = np.minimum.accumulate([points["step"][ranks == number].min() for number in range(len(starts))][::-1])
        limits = np.append(until[::-1][1:], np.iinfo(np.int64).max)
        points = points[points["step"] < limits[ranks]]
    steps = points["step"]
    if not (steps[1:] > steps[:-1]).all():
        points = points[np.argsort(steps, kind="stable")]
        is_last = np.append(points["step"][1:] != points["step"][:-1], True)
        points = points[is_last]
    return points


def summarise(series: Points) -> Summary:
    """Return what a series has come to, which has points."""
    last = float(series["value"][-1])
    finite = series[np.isfinite(series["value"])]
    least = finite[np.argmin(finite["value"])] if len(finite) else None
    greatest = finite[np.argmax(finite["value"])] if len(finite) else None
    return Summary(
        points=len(series),
        first_step=int(series["step"][0]),
        last_step=int(series["step"][-1]),
        last_us=round(float(series["time"][-1]) * 1e6),
        last=last if math.isfinite(last) else None,
        last_text=not_finite_text(last),
        least=None if least is None else float(least["value"]),
        least_step=None if least is None else int(least["step"]),
        greatest=None if greatest is None else float(greatest["value"]),
        greatest_step=None if greatest is None else int(greatest["step"]),
    )


def extend(summary: Summary, series: Points) -> Summary:
    """Return what a series has come to by more points, all of them behind those summarised."""
    added = summarise(series)
    is_less = added.least is not None and (summary.least is None or added.least < summary.least)
    is_more = added.greatest is not None and (summary.greatest is None or added.greatest > summary.greatest)
    least, greatest = added if is_less else summary, added if is_more else summary
    return dataclasses.replace(
        added,
        points=summary.points + added.points,
        first_step=summary.first_step,
        least=least.least,
        least_step=least.least_step,
        greatest=greatest.greatest,
        greatest_step=greatest.greatest_step,
    )


def inside(series: Points, viewport: Viewport, origin: float) -> Points:
    """Return the points inside a viewport, and the next one on either side, so that lines reach its edge.

    `origin` is the time that counts as 0 on the axis "relative".
    """
    if viewport.start is None and viewport.end is None:
        return series
    places = (
        series["step"] if viewport.axis == "step" else series["time"] - (origin if viewport.axis == "relative" else 0.0)
    )
    if viewport.axis != "step" and not (places[1:] >= places[:-1]).all():
        places = np.maximum.accumulate(places)  # of clocks that were set back
    first = 0 if viewport.start is None else int(np.searchsorted(places, viewport.start, "left"))
    last = len(series) if viewport.end is None else int(np.searchsorted(places, viewport.end, "right"))
    return series[max(0, first - 1) : last + 1] if last >= first else series[:0]


def sample(series: Points, viewport: Viewport) -> Points:
    """Return as many points as a plot of the viewport's width can show, the same shape when drawn.

    First, last, least and greatest stay.
    """
    if viewport.pixels is None or len(series) <= 2 * viewport.pixels:
        return series
    from tsdownsample import MinMaxLTTBDownsampler  # with the first long series, not with the server

    along = np.ascontiguousarray(series["step" if viewport.axis == "step" else "time"])
    values = np.ascontiguousarray(series["value"])
    finite = np.isfinite(values)
    chosen: npt.NDArray[np.uint64] = MinMaxLTTBDownsampler().downsample(  # pyright: ignore[reportUnknownMemberType]
        along, np.where(finite, values, 0.0), n_out=max(3, 2 * viewport.pixels), parallel=False
    )
    kept = np.unique(chosen.astype(np.int64))
    return series[kept]
