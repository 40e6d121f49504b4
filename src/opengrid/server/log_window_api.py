"""Logs over HTTP as a page shows them: windows that move, and searches that go on."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from opengrid.core.errors import InvalidValue
from opengrid.server.auth import Users
from opengrid.services.documents.logs import (
    LogLineDocument,
    LogSearchDocument,
    LogStreamRow,
    LogStreamsDocument,
    LogWindowDocument,
)
from opengrid.services.log_search import ERRORS, search
from opengrid.services.log_window import LogWindows, WindowLine, packed
from opengrid.services.logs import LogChoice, Logs, LogSource
from opengrid.services.patterns import Pattern

Lines = Annotated[int, Query(ge=0, le=2000)]
Stream = Literal["stdout", "stderr"]


def log_window_api(logs: Logs, users: Users) -> APIRouter:
    """Return the routes."""
    api = APIRouter(prefix="/api/v1/experiments/{name}", dependencies=[Depends(users)])

    @api.get("/log-streams")
    def streams(name: str, attempt: int | None = None) -> LogStreamsDocument:
        source = logs.source(name, LogChoice(attempt=attempt))
        rows = [
            LogStreamRow(generation=s.generation, rank=s.rank, stream=s.stream, size=s.size()) for s in source.streams
        ]
        return LogStreamsDocument(
            attempt=source.attempt,
            attempts=list(source.attempts),
            final=source.is_final,
            size=sum(row.size for row in rows),
            streams=rows,
        )

    @api.get("/log-window")
    def window(
        name: str,
        at: str = "end",
        before: Lines = 0,
        after: Lines = 0,
        attempt: int | None = None,
        generation: int | None = None,
        rank: int | None = None,
        stream: Stream | None = None,
    ) -> LogWindowDocument:
        source = logs.source(name, LogChoice(attempt=attempt, generation=generation, rank=rank))
        seen = _windows(source, stream).window(at, before=before, after=after)
        return LogWindowDocument(
            attempt=source.attempt,
            attempts=list(source.attempts),
            lines=[_line(line) for line in seen.lines],
            before=packed(seen.before),
            after=packed(seen.after),
            at_start=seen.at_start,
            at_end=seen.at_end,
            start_fraction=seen.fraction(seen.before),
            end_fraction=seen.fraction(seen.after),
            size=seen.size,
            final=source.is_final,
        )

    @api.get("/log-search")
    def find(
        name: str,
        q: Annotated[str, Query(max_length=500)] = "",
        regex: bool = False,
        case: bool = False,
        errors: bool = False,
        at: str = "start",
        direction: Literal["next", "previous"] = "next",
        attempt: int | None = None,
        generation: int | None = None,
        rank: int | None = None,
        stream: Stream | None = None,
    ) -> LogSearchDocument:
        if not q and not errors:
            raise InvalidValue("nothing to search for", hint="a text as q, or errors=true", field="q")
        source = logs.source(name, LogChoice(attempt=attempt, generation=generation, rank=rank))
        windows = _windows(source, stream)
        pattern = Pattern(q, is_regex=regex, is_case_sensitive=case) if q else ERRORS
        found = search(windows, pattern, windows.place(at), is_forward=direction == "next")
        return LogSearchDocument(
            cursor=found.line.cursor if found.line is not None else None,
            line=_line(found.line) if found.line is not None else None,
            next=packed(found.place) if found.place is not None else None,
            searched=found.searched,
        )

    return api


def _windows(source: LogSource, stream: str | None) -> LogWindows:
    chosen = [one for one in source.streams if stream in (None, one.stream)]
    return LogWindows(chosen, is_final=source.is_final)


def _line(line: WindowLine) -> LogLineDocument:
    return LogLineDocument(
        cursor=line.cursor,
        end=line.after,
        generation=line.stream.generation,
        rank=line.stream.rank,
        stream=line.stream.stream,
        at=datetime.fromtimestamp(line.at_ns / 1e9, timezone.utc).isoformat(timespec="milliseconds"),
        text=line.data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace"),
    )
