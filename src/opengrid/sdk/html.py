"""Tables for notebooks. Everything that a run holds is escaped: its names and arguments are anybody's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opengrid.client.documents import RunDocument


#: More rows than this make a notebook slow and are read by nobody.
_MOST = 50

_COLOURS = {"succeeded": "#2b8a3e", "failed": "#c92a2a", "stopped": "#862e9c", "running": "#1971c2"}


def pairs(rows: Iterable[tuple[str, object]]) -> str:
    """Return a table of names and values; values that say nothing are left out."""
    return _table([], [[name, value] for name, value in rows if value not in ("", None)])


def run_table(document: RunDocument) -> str:
    """Return a run with its experiments."""
    experiments = document["experiments"]
    names = list(dict.fromkeys(name for experiment in experiments for name in experiment["params"]))
    rows = [
        [e["experiment"], e["state"], *(e["params"].get(name, "") for name in names), e["reason"]]
        for e in experiments[:_MOST]
    ]
    more = f"<p>… and {len(experiments) - _MOST:,} more</p>" if len(experiments) > _MOST else ""
    title = f"<b>{escape(document['run'])}</b>: {escape(counted(e['state'] for e in experiments))}"
    return f"<div>{title}{_table(['experiment', 'status', *names, 'reason'], rows)}{more}</div>"


def counted(states: Iterable[str]) -> str:
    """Return `3 succeeded, 1 failed`."""
    return ", ".join(f"{count} {state}" for state, count in Counter(states).items())


def _table(titles: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    head = f"<thead><tr>{''.join(f'<th>{escape(title)}</th>' for title in titles)}</tr></thead>" if titles else ""
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table>{head}<tbody>{body}</tbody></table>"


def _cell(value: object) -> str:
    text = str(value)
    style = f' style="color:{_COLOURS[text]}"' if text in _COLOURS else ""
    return f"<td{style}>{escape(text)}</td>"
