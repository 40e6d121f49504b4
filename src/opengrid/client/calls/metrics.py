"""What experiments measure: scalars, samples of their machines, tables, TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from opengrid.client.calls.calls import Calls
from opengrid.client.http import Query

if TYPE_CHECKING:
    from opengrid.client.documents import (
        ExperimentScalars,
        SeriesAnswer,
        SystemDocument,
        TableDocument,
        TensorBoardDocument,
    )

#: Long series take their time.
_READING_TIMEOUT_S = 300.0


class MetricCalls(Calls):
    """What experiments measure: scalars, samples of their machines, tables, TensorBoard."""

    def scalars(self, experiment: str) -> ExperimentScalars:
        """Return what an experiment's metrics have come to."""
        return cast("ExperimentScalars", self._get(f"/api/v1/experiments/{experiment}/scalars"))

    def series(self, experiment: str, tags: Sequence[str]) -> SeriesAnswer:
        """Return every point of an experiment's metrics."""
        request = {"experiments": [experiment], "tags": list(tags), "pixels": None}
        return cast("SeriesAnswer", self._post("/api/v1/scalars", request, timeout_s=_READING_TIMEOUT_S))

    def system(self, experiment: str) -> SystemDocument:
        """Return how much an experiment uses of its machines, as last measured."""
        return cast("SystemDocument", self._get(f"/api/v1/experiments/{experiment}/system"))

    def system_series(self, experiment: str, names: Sequence[str]) -> SeriesAnswer:
        """Return every sample of an experiment's machines, ranks and GPUs."""
        request = {"experiments": [experiment], "tags": list(names), "pixels": None}
        return cast("SeriesAnswer", self._post("/api/v1/system", request, timeout_s=_READING_TIMEOUT_S))

    def table(self, run: str, query: Query) -> TableDocument:
        """Return a page of a run's experiments with their metrics."""
        return cast("TableDocument", self._get(f"/api/v1/runs/{run}/table", query))

    def table_as_csv(self, run: str, query: Query) -> AbstractContextManager[Iterator[bytes]]:
        """Give a run's experiments with their metrics as CSV."""
        return self._transport.stream("GET", f"/api/v1/runs/{run}/table.csv", query=query)

    def tensorboard(self, names: Sequence[str]) -> TensorBoardDocument:
        """Have a TensorBoard show runs and experiments; blocks until it answers."""
        document = self._post("/api/v1/tensorboard", {"names": list(names)}, timeout_s=_READING_TIMEOUT_S)
        return cast("TensorBoardDocument", document)
