"""Runs and experiments: planned, started, watched, stopped, resumed, deleted; their logs and stacks."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from opengrid.client.calls.calls import REMOVING_TIMEOUT_S, Calls, wire
from opengrid.client.http import Query

if TYPE_CHECKING:
    from opengrid.client.documents import (
        CreatedDocument,
        ExperimentDocument,
        PlanDocument,
        ResumedDocument,
        RunDocument,
        RunRequestDocument,
        RunRow,
        RunsDocument,
        StacksDocument,
        StoppedDocument,
    )
    from opengrid.core.spec import RunSpec

#: How long one held request lasts at most, as the server allows.
HOLD_S = 25.0

#: A server may first fetch a repository.
_FETCHING_TIMEOUT_S = 900.0

#: What is more than this comes in pages.
_PAGE = 1000

Kind = Literal["run", "experiment"]


class RunCalls(Calls):
    """Runs and experiments: planned, started, watched, stopped, resumed, deleted; their logs and stacks."""

    def plan(self, spec: RunSpec) -> PlanDocument:
        """Return what a request would start; nothing is stored."""
        return cast("PlanDocument", self._post("/api/v1/plan", wire(spec), _patience_s(spec))["plan"])

    def create_run(self, spec: RunSpec) -> CreatedDocument:
        """Start a run whose bundle has been sent, or which is from a link."""
        return cast("CreatedDocument", self._post("/api/v1/runs", wire(spec), _patience_s(spec)))

    def send_blob(self, digest: str, content: BinaryIO | bytes) -> bool:
        """Send a blob that the server has not yet; return whether it had to be sent."""
        path = f"/api/v1/blobs/{digest}"
        # Why the store cannot be used, an answer without a body does not say, and that to the next request does.
        if self._transport.request("HEAD", path, accept=(404, 500, 507)).status < 400:
            return False
        self._transport.request("PUT", path, body=content, timeout_s=600)
        return True

    def runs(
        self,
        *,
        active: bool | None = None,
        mine: bool = False,
        labels: Sequence[str] = (),
        limit: int = _PAGE,
        offset: int = 0,
    ) -> RunsDocument:
        """Return one page of runs, newest first; of those with all of these labels (`key` or `key=value`)."""
        query: dict[str, str | int | tuple[str, ...] | None] = {
            "active": None if active is None else str(active).lower(),
            "mine": "true" if mine else None,
            "label": tuple(labels),
            "limit": limit,
            "offset": offset,
        }
        return cast("RunsDocument", self._get("/api/v1/runs", query))

    def all_runs(self, *, active: bool | None = None, mine: bool = False, labels: Sequence[str] = ()) -> RunsDocument:
        """Return all runs, newest first, however many pages that takes."""
        document = self.runs(active=active, mine=mine, labels=labels)
        rows: dict[str, RunRow] = {row["run"]: row for row in document["runs"]}
        offset = len(document["runs"])
        while offset < document["total"]:
            page = self.runs(active=active, mine=mine, labels=labels, offset=offset)["runs"]
            if not page:
                break
            rows.update({row["run"]: row for row in page})  # a run that was made meanwhile shifts the pages
            offset += len(page)
        document["runs"] = list(rows.values())
        return document

    def request(self, run: str, *, tree: bool = False) -> RunRequestDocument:
        """Return what a run was asked for with; Forbidden with its `tree` when that is another user's alone."""
        return cast("RunRequestDocument", self._get(f"/api/v1/runs/{run}/request", {"tree": "true" if tree else None}))

    def run(self, name: str) -> RunDocument:
        """Return a run and its experiments."""
        return cast("RunDocument", self._get(f"/api/v1/runs/{name}"))

    def watch_run(
        self,
        name: str,
        until: Literal["started", "ended"],
        *,
        redraw_s: int | None = None,
        deadline: float | None = None,
    ) -> Iterator[RunDocument]:
        """Yield a run now and whenever it changes; end when all its experiments have started or ended.

        The server holds each request until there is something to say. With `redraw_s` a run is yielded that often
        though nothing has changed, for screens that show durations. At a `deadline` of time.monotonic() it ends too,
        having yielded the run once at least.
        """
        known: str | None = None
        while True:
            hold_s = HOLD_S if deadline is None else min(HOLD_S, max(0.0, deadline - time.monotonic()))
            query = {"until": until, "known": known, "timeout_s": redraw_s or f"{hold_s:g}"}
            document = cast("RunDocument", self._get(f"/api/v1/runs/{name}", query, timeout_s=2 * HOLD_S))
            if document["etag"] != known or redraw_s is not None:
                yield document
            known = document["etag"]
            if all(_is_past(until, experiment["state"]) for experiment in document["experiments"]):
                return
            if deadline is not None and time.monotonic() >= deadline:
                return

    def experiment(self, name: str) -> ExperimentDocument:
        """Return one experiment with its events."""
        return cast("ExperimentDocument", self._get(f"/api/v1/experiments/{name}"))

    def log(self, name: str, query: Query) -> AbstractContextManager[Iterator[bytes]]:
        """Give the blocks of an experiment's log; with follow=true until the experiment has ended."""
        return self._transport.stream("GET", f"/api/v1/experiments/{name}/logs", query=query)

    def log_lines(self, name: str, query: Query) -> dict[str, object]:
        """Return an experiment's log as a document of lines."""
        return self._get(f"/api/v1/experiments/{name}/logs", {**query, "format": "json"})

    def build_log(self, name: str, offset: int = 0) -> bytes:
        """Return what the making of an experiment's environment wrote, from an offset on."""
        path = f"/api/v1/experiments/{name}/build-logs"
        return self._transport.request("GET", path, query={"offset": offset}).body

    def stacks(self, name: str) -> StacksDocument:
        """Return the stacks of all ranks of a running experiment; blocks for the seconds that they may take."""
        return cast("StacksDocument", self._get(f"/api/v1/experiments/{name}/stacks"))

    def stop(self, kind: Kind, names: list[str], *, force: bool = False) -> StoppedDocument:
        """Ask runs or experiments to stop; with `force` all that runs for them is killed."""
        return cast("StoppedDocument", self._post("/api/v1/stop", {"kind": kind, "names": names, "force": force}))

    def resume(self, kind: Kind, names: list[str], *, failed: bool) -> ResumedDocument:
        """Queue again what has failed or was stopped."""
        document = self._post("/api/v1/resume", {"kind": kind, "names": names, "failed": failed})
        return cast("ResumedDocument", document)

    def rehearse(self, name: str, fault: str, target: int | None, *, confirmed: bool) -> str:
        """Bring a fault about on a running experiment; return in words which."""
        body = {"fault": fault, "target": target, "confirmed": confirmed}
        return cast("str", self._post(f"/api/v1/experiments/{name}/rehearsals", body)["rehearsal"])

    def delete(self, kind: Kind, names: list[str]) -> list[str]:
        """Delete runs or experiments that have ended, for good; return the experiments that are gone."""
        chosen = {"kind": kind, "names": names}
        return cast("list[str]", self._post("/api/v1/delete", chosen, timeout_s=REMOVING_TIMEOUT_S)["deleted"])


def _patience_s(spec: RunSpec) -> float | None:
    return _FETCHING_TIMEOUT_S if spec.source.link is not None else None


def _is_past(until: str, state: str) -> bool:
    ended = ("succeeded", "failed", "stopped")
    return state in (("running", *ended) if until == "started" else ended)
