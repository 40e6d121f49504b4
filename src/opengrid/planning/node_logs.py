"""What an engine's own programs wrote on the machines of a cluster, merged by time. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

_TIME = re.compile(r"\[?(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)[,.](\d{3})")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLog:
    """The end of a file on a machine."""

    host: str
    file: str
    lines: Sequence[str]
    utc_offset_s: int  #: of the clock by which its times were written


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLogLine:
    """One line of it."""

    host: str
    file: str
    at_us: int  #: its own time, else that of the line before; 0 when none has one
    text: str


def merged(logs: Iterable[NodeLog], *, since_us: int | None, until_us: int | None, limit: int) -> list[NodeLogLine]:
    """Return the newest `limit` lines of all files between two times, in the order of time; files stay in theirs."""
    lines = [line for log in logs for line in _timed(log)]
    chosen = [
        line
        for line in lines
        if (since_us is None or line.at_us >= since_us) and (until_us is None or line.at_us <= until_us)
    ]
    chosen.sort(key=lambda line: line.at_us)  # stable: lines of one file that have one time stay in their order
    return chosen[-limit:]


def _timed(log: NodeLog) -> Iterable[NodeLogLine]:
    zone = timezone(timedelta(seconds=log.utc_offset_s))
    at_us = 0
    for text in log.lines:
        found = _TIME.match(text)
        if found is not None:
            at = datetime.fromisoformat(f"{found[1]} {found[2]}").replace(tzinfo=zone)
            at_us = int(at.timestamp()) * 1_000_000 + int(found[3]) * 1000
        if text.strip():
            yield NodeLogLine(host=log.host, file=log.file, at_us=at_us, text=text.rstrip())
