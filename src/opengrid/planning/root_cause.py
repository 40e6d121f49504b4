"""Which rank failed first, why, and whom it took along. Pure: from how the ranks of a generation ended."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass, replace

from opengrid.core.gang import Gang
from opengrid.core.records.attempts import RankExit
from opengrid.core.records.experiments import Memory, RootCause
from opengrid.planning.generation import SETTLE_S, describe_exit, signal_name
from opengrid.planning.hints import find_hint

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

#: What a rank says that waited for others in vain; with the rank whose address it waited for, where it says so.
_WAITED = re.compile(
    r"Timed out|wait timeout after \d+ms(?:, keys: /default_pg/\d+//cpu//\d+/(?P<missing>\d+)$)?|Socket Timeout"
    r"|Watchdog caught collective operation timeout",
    re.IGNORECASE | re.MULTILINE,
)

#: What a rank says that reached nobody: when others did meet, it is no victim of theirs.
_UNREACHED = re.compile(
    r"The client socket has (failed|timed out)|failed to connect to \S+ |SO_ERROR|Connection refused", re.IGNORECASE
)

#: The last line of a traceback, also with torch's `[rank1]: ` before it.
_ERROR_LINE = re.compile(
    r"^(?:\[rank\d+\]: )?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning|gaierror)\b.*)$", re.MULTILINE
)

_CHILD_FAILED = re.compile(r"ChildFailedError[: ]*$")
_SYSTEM_EXIT = re.compile(r"SystemExit: (\d+)")

_LINE_LIMIT = 240

#: Times of two machines are compared no closer than this: they are as exact as messages to the server are fast.
_CLOCKS_NS = 100_000_000


def find_root_cause(gang: Gang, exits: Sequence[RankExit], *, clock_uncertainty_ns: int = 0) -> RootCause:
    """Return why a generation failed: its first failing rank that is no victim of another.

    When all that failed are victims of another rank, it is the one that left them with exit code 0, that could not
    reach them, or that was still at something else. `exits` need one with a code other than 0, and have times of one
    clock; ends closer than `clock_uncertainty_ns` are ordered by what they say: a signal from outside, then an
    exception, then a bare exit code.
    """
    exits = [_as_it_was_leaving(e) for e in exits]
    failed = sorted((e for e in exits if e.exit_code != 0), key=lambda e: (e.at_ns, e.rank))
    if not failed:
        raise ValueError("no rank failed")
    settled_ns = failed[0].at_ns + int(SETTLE_S * 1e9) - clock_uncertainty_ns
    ended_by_us = [e for e in failed[1:] if e.exit_code == -signal.SIGKILL and e.at_ns >= settled_ns]
    spoke = [e for e in failed if e not in ended_by_us]
    own = [e for e in spoke if not _is_victim(e)]
    if own:
        first = _first(own, clock_uncertainty_ns)
        alike = [e for e in own if e != first and first.exception is not None and e.exception == first.exception]
        return _describe(gang, first, alike=len(alike), victims=[e for e in failed if e != first and e not in own])
    left = [e for e in exits if e.exit_code == 0 and e.at_ns <= failed[0].at_ns + _CLOCKS_NS]
    absence = _left_early(left) or _unreached(spoke) or _absent(spoke, ended_by_us)
    first = absence.end if absence is not None else _first(spoke, clock_uncertainty_ns)
    return _describe(gang, first, absence=absence, victims=[e for e in failed if e != first])


def _as_it_was_leaving(end: RankExit) -> RankExit:
    """Return the end that an uncaught exception led to, of a rank that was killed before it got there.

    It has closed its connections, so that others ended of that, and what it does at exit takes longer than we wait.
    """
    if end.exit_code != -signal.SIGKILL or end.exception is None:
        return end
    code = _SYSTEM_EXIT.fullmatch(end.exception)
    return replace(end, exit_code=int(code[1]) if code is not None else 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Absence:
    """A rank that the others missed."""

    end: RankExit
    what: str | None = None  #: what it did instead, in a few words; None where its own words say it
    is_by_us: bool = False  #: it ran until we ended it, so that its exit says nothing


def _left_early(left: Sequence[RankExit]) -> _Absence | None:
    if not left:
        return None
    more = f", and so did {len(left) - 1} more" if len(left) > 1 else ""
    end = min(left, key=lambda e: (e.at_ns, e.rank))
    return _Absence(end=end, what=f"left early: it exited with code 0 while other ranks needed it{more}")


def _unreached(spoke: Sequence[RankExit]) -> _Absence | None:
    return next((_Absence(end=e) for e in spoke if _UNREACHED.search(_words(e))), None)


def _absent(spoke: Sequence[RankExit], ended_by_us: Sequence[RankExit]) -> _Absence | None:
    """Return the rank that was still at something else when the others had waited for it in vain.

    Of several that still ran it is the one whose address the others waited for, or that was at another line than they.
    """
    waited = [match for match in (_WAITED.search(_words(e)) for e in spoke) if match is not None]
    if not waited or not ended_by_us:
        return None
    missing = {match["missing"] for match in waited}
    named = [e for e in ended_by_us if str(e.rank) in missing]
    waiting = {e.frame for e in spoke}
    elsewhere = [e for e in ended_by_us if e.frame is not None and e.frame not in waiting]
    found = named or elsewhere or (ended_by_us if len(ended_by_us) == 1 else ())
    if not found:
        return None
    never = "never joined" if named else "did not take part"
    return _Absence(
        end=found[0],
        what=f"{never}: it was still at something else when the others had waited for it in vain",
        is_by_us=True,
    )


def _is_victim(end: RankExit) -> bool:
    return _VICTIM.search(_words(end)) is not None


def _words(end: RankExit) -> str:
    """Return what a rank said about its end."""
    return _error_of(end) or end.log_tail


def _error_of(end: RankExit) -> str | None:
    """Return the exception of a rank: as its error file has it, else the last one that its output shows.

    Of a program that catches its own and calls sys.exit(), that is the one it caught.
    """
    if end.exception is not None and not end.exception.startswith("SystemExit"):
        return end.exception
    lines: list[str] = _ERROR_LINE.findall(end.log_tail)
    # A torchrun that the program itself called ends with this line, whatever its ranks' errors were.
    telling = [line for line in lines if not line.startswith("SystemExit") and not _CHILD_FAILED.search(line)]
    return (telling or [line for line in lines if end.exception is None] or [end.exception])[-1]


def _first(candidates: Sequence[RankExit], uncertainty_ns: int) -> RankExit:
    earliest = candidates[0].at_ns
    close = [e for e in candidates if e.at_ns - earliest <= uncertainty_ns]
    return min(close, key=lambda e: (_strength(e), e.at_ns, e.rank))


def _strength(end: RankExit) -> int:
    """Return how surely an end is a cause, 0 most: no other rank's end makes the kernel kill this one."""
    if end.exit_code < 0 and end.exit_code != -signal.SIGABRT:
        return 0
    return 1 if _error_of(end) is not None else 2


def _describe(
    gang: Gang, first: RankExit, *, absence: _Absence | None = None, alike: int = 0, victims: Sequence[RankExit]
) -> RootCause:
    place = next((place for place in gang.ranks() if place.rank == first.rank), None)
    is_by_us = absence is not None and absence.is_by_us
    what = (absence.what if absence is not None else None) or _what(first)
    has_memory = first.peak_mib is not None or first.available_mib is not None
    return RootCause(
        summary=_summary(gang, first, what, alike),
        rank=first.rank,
        node=place.node.index if place is not None else None,
        machine=place.node.machine if place is not None else None,
        exit_code=None if is_by_us else first.exit_code,
        signal=signal_name(-first.exit_code) if first.exit_code < 0 and not is_by_us else None,
        exception=_error_of(first),
        frame=first.frame,
        hint=_hint(gang, first, what, is_by_us=is_by_us),
        log_tail=first.log_tail,
        victims=tuple(sorted(e.rank for e in victims)),
        memory=Memory(peak_mib=first.peak_mib, available_mib=first.available_mib) if has_memory else None,
    )


def _what(end: RankExit) -> str:
    if end.oom_killed:
        return "was killed by the kernel's out-of-memory killer"
    exception = _error_of(end)
    if exception is None or end.exit_code < 0 or exception == f"SystemExit: {end.exit_code}":
        return describe_exit(end.exit_code)
    line = exception.strip().partition("\n")[0]
    return f"failed: {line[:_LINE_LIMIT]}{'…' if len(line) > _LINE_LIMIT else ''}"


def _summary(gang: Gang, first: RankExit, what: str, alike: int) -> str:
    who = f"rank {first.rank}" if gang.world_size > 1 else "the program"
    where = f" ({first.frame})" if first.frame is not None else ""
    others = f"; {alike} other rank{'s' if alike > 1 else ''} failed alike" if alike else ""
    return f"{who} {what}{where}{others}"


def _hint(gang: Gang, first: RankExit, what: str, *, is_by_us: bool) -> str | None:
    # The exception itself comes before the log: what that shows before the end may be an older trouble, overcome since.
    # A rank that was killed from outside wrote no word about it, and one that left early no word that is to the point.
    is_silent = is_by_us or first.exit_code == 0 or _strength(first) == 0
    texts = (what,) if is_silent else (_error_of(first) or "", first.log_tail)
    return find_hint(texts, first.exit_code, gang=gang, rank=first.rank)
