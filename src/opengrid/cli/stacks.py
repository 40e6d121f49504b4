"""`grid stacks`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

import click

from opengrid.cli.completing import names_of
from opengrid.cli.logs import experiment_of
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import bold, plural, print_json, settings
from opengrid.planning.stacks import is_users

if TYPE_CHECKING:
    from opengrid.client.documents import FrameDocument, SilentRankDocument, StackGroupDocument


@click.command()
@click.argument("experiment", shell_complete=names_of)
@click.option("--all_threads", is_flag=True, help="Of all threads, not only the main ones.")
@global_options
def stacks(experiment: str, *, all_threads: bool) -> int:
    """Show where the ranks of a running experiment are.

    Every Python rank is asked for its stack, now, and goes on undisturbed. Ranks that are at the same place are shown
    together, the largest group first; the call that a rank is in comes last, as in a traceback. A run's name means its
    first experiment. Exit code 1 when there is no stack at all.
    """
    name = experiment_of(experiment)
    with connected() as api:
        document = api.stacks(name)
    if settings().is_json:
        print_json(document)
    else:
        click.echo("\n".join(_lines(document["groups"], document["silent"], all_threads=all_threads)))
    return 0 if document["groups"] else 1


def _lines(
    groups: Sequence[StackGroupDocument], silent: Sequence[SilentRankDocument], *, all_threads: bool
) -> Iterator[str]:
    for group in groups:
        yield bold(f"{_counted(group['ranks'])} in {group['top']}")
    by_reason = sorted(silent, key=lambda one: one["reason"])
    for reason, some in groupby(by_reason, key=lambda one: one["reason"]):
        yield bold(f"{_counted([one['rank'] for one in some])} without a stack: {reason}")
    for group in groups:
        yield f"\n{_named(group['ranks'])} (most recent call last):"
        yield from _frames(group["frames"])
        for thread in group["threads"] if all_threads else ():
            yield f"\n  another thread of {_named(thread['ranks'])} (most recent call last):"
            yield from (f"  {line}" for line in _frames(thread["frames"]))


def _frames(frames: Sequence[FrameDocument]) -> Iterator[str]:
    for frame in frames:
        line = f'  File "{frame["file"]}", line {frame["line"]}, in {frame["function"]}'
        yield bold(line) if is_users(frame["file"]) else line
    if not frames:
        yield "  no Python frame"


def _counted(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"{plural(len(ranks), 'rank')} ({_ranges(ranks)})"


def _named(ranks: Sequence[int]) -> str:
    return f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {_ranges(ranks)}"


def _ranges(ranks: Sequence[int]) -> str:
    """Return `0-2, 4` for ascending numbers."""
    runs = [list(run) for _, run in groupby(enumerate(ranks), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0][1]}-{run[-1][1]}" if len(run) > 1 else str(run[0][1]) for run in runs)
