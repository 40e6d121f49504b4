"""Which rank failed first, why, and whom it took along. Pure: from how the ranks of a generation ended."""

from __future__ import annotations

import functools
import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from opengrid.core.gang import Gang
from opengrid.core.records import RankExit, RootCause
from opengrid.planning.generation import SETTLE_S, describe_exit, signal_name
from opengrid.planning.toml_data import packaged_text, parse_toml

#: What a rank says that only noticed the end of another: torch with gloo and nccl, its store, plain sockets.
_VICTIM = re.compile(
    r"Connection (closed|reset) by peer"
    r"|Broken pipe"
    r"|connectFullMesh"
    r"|Connection was likely closed"
    r"|Timed out waiting \d+ms for (send|recv) operation"
    r"|Timed out after \d+ seconds waiting for clients"
    r"|wait timeout after \d+ms"
    r"|Socket Timeout"
    r"|failed to connect to \S+ "
    r"|The client socket has (failed|timed out)"
    r"|NCCL communicator was aborted|ncclRemoteError|remote process exit"
    r"|Watchdog caught collective operation timeout",
    re.IGNORECASE,
)

#: The last line of a traceback, also with torch's `[rank1]: ` before it.
_ERROR_LINE = re.compile(
    r"^(?:\[rank\d+\]: )?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning)\b.*)$", re.MULTILINE
)

_LINE_LIMIT = 240


def find_root_cause(gang: Gang, exits: Sequence[RankExit], *, clock_uncertainty_ns: int = 0) -> RootCause:
    """Return why a generation failed: its first failing rank that is no victim of another.

    `exits` need one with a code other than 0, and have times of one clock; ends closer than `clock_uncertainty_ns` are
    ordered by what they say: a signal from outside, then an exception, then a bare exit code.
    """
    failed = sorted((e for e in exits if e.exit_code != 0), key=lambda e: (e.at_ns, e.rank))
    if not failed:
        raise ValueError("no rank failed")
    settled_ns = failed[0].at_ns + int(SETTLE_S * 1e9) - clock_uncertainty_ns
    ended_by_us = {
        e.rank for e in failed if e.exit_code == -signal.SIGKILL and e.at_ns >= settled_ns and e != failed[0]
    }
    own = [e for e in failed if e.rank not in ended_by_us and not _is_victim(e)]
    first = _first(own or [e for e in failed if e.rank not in ended_by_us], clock_uncertainty_ns)
    alike = [e for e in own if e != first and first.exception is not None and e.exception == first.exception]
    return _describe(gang, first, alike=alike, victims=[e for e in failed if e != first and e not in own])


def _is_victim(end: RankExit) -> bool:
    return _VICTIM.search(_error_of(end) or end.log_tail) is not None


def _error_of(end: RankExit) -> str | None:
    """Return the exception of a rank: as its error file has it, else the last one that its output shows."""
    if end.exception is not None:
        return end.exception
    lines: list[str] = _ERROR_LINE.findall(end.log_tail)
    # A torchrun that the program itself called ends with this line, whatever its ranks' errors were.
    telling = [line for line in lines if not line.rstrip(": ").endswith("ChildFailedError")]
    return (telling or lines or [None])[-1]


def _first(candidates: Sequence[RankExit], uncertainty_ns: int) -> RankExit:
    earliest = candidates[0].at_ns
    close = [e for e in candidates if e.at_ns - earliest <= uncertainty_ns]
    return min(close, key=lambda e: (_strength(e), e.at_ns, e.rank))


def _strength(end: RankExit) -> int:
    """Return how surely an end is a cause, 0 most: no other rank's end makes the kernel kill this one."""
    if end.exit_code < 0 and end.exit_code != -signal.SIGABRT:
        return 0
    return 1 if _error_of(end) is not None else 2


def _describe(gang: Gang, first: RankExit, *, alike: Sequence[RankExit], victims: Sequence[RankExit]) -> RootCause:
    place = next((place for place in gang.ranks() if place.rank == first.rank), None)
    exception = _error_of(first)
    return RootCause(
        summary=_summary(gang, first, exception, len(alike)),
        rank=first.rank,
        node=place.node.index if place is not None else None,
        machine=place.node.machine if place is not None else None,
        exit_code=first.exit_code,
        signal=signal_name(-first.exit_code) if first.exit_code < 0 else None,
        exception=exception,
        frame=first.frame,
        hint=_hint(gang, first),
        log_tail=first.log_tail,
        victims=tuple(sorted(e.rank for e in victims)),
    )


def _summary(gang: Gang, first: RankExit, exception: str | None, alike: int) -> str:
    who = f"rank {first.rank}" if gang.world_size > 1 else "the program"
    if exception is not None and first.exit_code > 0:
        line = exception.strip().partition("\n")[0]
        what = f"failed: {line[:_LINE_LIMIT]}{'…' if len(line) > _LINE_LIMIT else ''}"
    else:
        what = describe_exit(first.exit_code)
    where = f" ({first.frame})" if first.frame is not None else ""
    others = f"; {alike} other rank{'s' if alike > 1 else ''} failed alike" if alike else ""
    return f"{who} {what}{where}{others}"


def _hint(gang: Gang, first: RankExit) -> str | None:
    # The exception itself comes first: what a log shows before the end may be an older trouble that was overcome.
    # A rank that was killed from outside wrote no word about it.
    killed = _strength(first) == 0
    for text in () if killed else (_error_of(first) or "", first.log_tail):
        for cause in _causes():
            match = cause.pattern.search(text) if cause.pattern is not None else None
            if match is not None:
                return cause.hint.format(
                    ranks=gang.world_size,
                    nodes=len(gang.nodes),
                    ranks_per_node=gang.ranks_per_node,
                    **{name: value or "" for name, value in match.groupdict().items()},
                )
    return next((cause.hint for cause in _causes() if cause.exit_code == first.exit_code), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """One entry of causes.toml."""

    pattern: re.Pattern[str] | None
    exit_code: int | None
    hint: str


@functools.lru_cache(maxsize=1)
def _causes() -> tuple[_Cause, ...]:
    entries = cast("list[dict[str, object]]", parse_toml(packaged_text("causes.toml"), "causes.toml")["cause"])
    return tuple(
        _Cause(
            pattern=re.compile(cast("str", entry["pattern"])) if "pattern" in entry else None,
            exit_code=cast("int | None", entry.get("exit_code")),
            hint=cast("str", entry["hint"]),
        )
        for entry in entries
    )
