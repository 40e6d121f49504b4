"""Logs over HTTP: what there is, or what comes, merged or of one rank."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import datetime, timezone
from itertools import chain
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, Response, StreamingResponse

from opengrid.server.auth import Users
from opengrid.server.wakeups import Wakeups
from opengrid.services.log_files import LogStream
from opengrid.services.log_view import LogPrinter, LogStyle, StreamReader, merge, raw_blocks, read_lines
from opengrid.services.logs import LogChoice, Logs

#: Answers are sent in pieces of about this size.
_PIECE = 256 << 10

#: A follower looks again at least this often: that the experiment has ended comes by no log upload.
_LOOK_S = 1.0


def logs_api(logs: Logs, users: Users, wakeups: Wakeups) -> APIRouter:
    """Return the routes for logs."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/experiments/{name}/logs")
    async def read(
        name: str,
        rank: int | None = None,
        attempt: int | None = None,
        generation: int | None = None,
        tail: Annotated[int | None, Query(ge=0)] = None,
        follow: bool = False,
        times: bool = False,
        prefix: bool = True,
        headings: bool = False,
        format: Annotated[str, Query(pattern="^(text|json)$")] = "text",
    ) -> Response:
        choice = LogChoice(attempt=attempt, generation=generation, rank=rank)
        style = LogStyle(prefix=prefix, times=times, headings=headings)
        source = await run_in_threadpool(logs.source, name, choice)
        if format == "json":
            return JSONResponse(
                {"experiment": name, "lines": await run_in_threadpool(_json_lines, source.streams, tail)}
            )
        if follow:
            return _stream(_follow(logs, wakeups, name, choice, style, tail))
        return _stream(_pieces(source.streams, style, tail))

    return api


def _stream(content: AsyncIterator[bytes] | Iterator[bytes]) -> Response:
    return StreamingResponse(content, media_type="text/plain; charset=utf-8")


def _pieces(streams: tuple[LogStream, ...], style: LogStyle, tail: int | None) -> Iterator[bytes]:
    written = [s for s in streams if s.size()]
    if len(written) == 1 and not (style.prefix or style.times) and tail is None:
        yield from raw_blocks(written[0])
        return
    printer = LogPrinter(style)
    yield from _batches(printer.render(line) for line in read_lines(streams, tail=tail, final=True))


def _batches(pieces: Iterator[bytes]) -> Iterator[bytes]:
    batch = bytearray()
    for piece in pieces:
        batch += piece
        if len(batch) >= _PIECE:
            yield bytes(batch)
            batch.clear()
    if batch:
        yield bytes(batch)


def _json_lines(streams: tuple[LogStream, ...], tail: int | None) -> list[dict[str, object]]:
    return [
        {
            "generation": line.source.generation,
            "rank": line.source.rank,
            "stream": line.source.stream,
            "at": datetime.fromtimestamp(line.at_ns / 1e9, timezone.utc).isoformat(timespec="milliseconds"),
            "text": line.data.rstrip(b"\n").decode("utf-8", "backslashreplace"),
        }
        for line in read_lines(streams, tail=tail, final=True)
    ]


async def _follow(
    logs: Logs, wakeups: Wakeups, name: str, choice: LogChoice, style: LogStyle, tail: int | None
) -> AsyncIterator[bytes]:
    """Yield what there is, then what comes, until the experiment has ended or the client has gone."""
    readers: dict[LogStream, StreamReader] = {}
    printer = LogPrinter(style)
    as_written = not (style.prefix or style.times)  # one rank as it is: a line that is still being written too
    source = await run_in_threadpool(logs.source, name, choice)
    with logs.following(source.experiment_id):
        while True:
            with wakeups.watching(f"logs:{source.attempt_id}") as event:
                if source.attempt_id is not None:
                    wakeups.notify(f"attempt:{source.attempt_id}")  # agents learn that somebody follows
                source = await run_in_threadpool(logs.source, name, choice)
                for stream in source.streams:
                    if stream not in readers:
                        start = 0 if tail is None else stream.tail_offset(tail)
                        readers[stream] = StreamReader(stream, start)
                tail = None  # only what was there when following began is cut
                while lines := await run_in_threadpool(
                    _new_lines, list(readers.values()), printer, as_written or source.is_final
                ):
                    yield lines
                if source.is_final or wakeups.is_closing:
                    return
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(event.wait(), _LOOK_S)


def _new_lines(readers: list[StreamReader], printer: LogPrinter, final: bool) -> bytes:
    """Return what has come since the last call, about one piece of it at most; b"" when nothing has."""
    batch = bytearray()
    newest = readers[-1].stream.path.parent if readers else None
    over = [reader for reader in readers if reader.stream.path.parent != newest]
    current = [reader for reader in readers if reader.stream.path.parent == newest]
    for line in chain(merge(over, final=True), merge(current, final=final)):
        batch += printer.render(line)
        if len(batch) >= _PIECE:
            break
    return bytes(batch)
