"""How results look: tables, one JSON document, notes on stderr. Nothing here talks to the server."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone

import click

from opengrid.core.names import printable

#: Colours of states, where there are colours.
_COLOURS = {
    "queued": "yellow",
    "building": "yellow",
    "pending": "yellow",
    "processing": "yellow",
    "running": "cyan",
    "succeeded": "green",
    "failed": "red",
    "stopped": "magenta",
}


#: A column that gives way keeps this many signs.
_NARROWEST = 8

#: A line that tells how far something is changes this often at most: the terminal may be behind a slow ssh.
_SHOWN_EVERY_S = 0.1


@dataclass
class Settings:
    """The global options of one command."""

    is_json: bool = False
    debug: bool = False
    arguments: tuple[str, ...] = ()  #: the whole command line, without `grid`


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table."""

    title: str
    short: str = ""  #: the title where a terminal is too narrow
    is_number: bool = False  #: aligned to the right
    may_wrap: bool = False  #: gives way first when a terminal is too narrow
    may_drop: bool = False  #: left out, the last one first, when it is too narrow all the same


def settings() -> Settings:
    """Return the options of the running command."""
    return click.get_current_context().find_root().ensure_object(Settings)


def print_json(document: object) -> None:
    """Print the one document of `-o json`."""
    click.echo(json.dumps(document, ensure_ascii=False, indent=2 if sys.stdout.isatty() else None))


def tell(message: str) -> None:
    """Tell the user something that is no result: on stderr."""
    click.echo(message, err=True)


def note(message: str) -> None:
    """Tell the user something worth knowing."""
    tell(f"note: {message}")


def is_terminal() -> bool:
    """Whether a person is looking at both results and notes."""
    return sys.stdout.isatty() and sys.stderr.isatty()


def colour(text: str, name: str | None = None) -> str:
    """Return a state, or a text about one, in its colour, where stdout takes colours."""
    chosen = _COLOURS.get(name or text)
    return click.style(text, fg=chosen) if chosen and _has_colours() else text


def bold(text: str) -> str:
    """Return a text in bold, where stdout takes that."""
    return click.style(text, bold=True) if _has_colours() else text


def wrapped(text: str, width: int, *, first: str = "", more: str = "") -> list[str]:
    """Return a text in lines that begin with `first` and `more`, no word broken: commands and paths can be copied."""
    import textwrap  # for what few commands print

    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=more, break_long_words=False, break_on_hyphens=False
    )


def print_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> int:
    """Print a table: fitted to the terminal, or with every cell whole and aligned when it goes elsewhere.

    Returns how many columns were left out because they did not fit.
    """
    columns = [replace(column, title=printable(column.title)) for column in columns]
    whole = [tuple(map(printable, row)) for row in rows]
    if not sys.stdout.isatty():
        click.echo(plain_table(columns, whole))
        return 0
    width = shutil.get_terminal_size().columns
    kept = kept_columns(columns, whole, width)
    shown = [[row[i] for i in kept] for row in whole]
    click.echo(fitted_table([columns[i] for i in kept], shown, width, colours=_has_colours()), color=_has_colours())
    return len(columns) - len(kept)


def plain_table(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> str:
    """Return a table of aligned columns, two spaces apart, no cell cut."""
    cells = [[column.title for column in columns], *rows]
    widths = _widths(cells)
    return "\n".join(_line(columns, row, widths, gap=2) for row in cells)


def kept_columns(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the places of the columns that a terminal is wide enough for, once the others have given way."""
    widths = _widths([[column.short or column.title for column in columns], *rows])
    least = [min(w, _NARROWEST) if column.may_wrap else w for column, w in zip(columns, widths)]  # noqa: B905 - of one length
    kept = list(range(len(columns)))
    for last in reversed(range(len(columns))):
        if _total([least[i] for i in kept], gap=1) <= width:
            break
        if columns[last].may_drop:
            kept.remove(last)
    return kept


def fitted_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int, *, colours: bool) -> str:
    """Return a table for a terminal; where that is too narrow, titles are shortened and long cells folded."""
    cells = [[column.title for column in columns], *rows]
    widths, gap = _widths(cells), 2
    if _total(widths, gap) > width:
        cells[0] = [column.short or column.title for column in columns]
        gap = 1
        widths = _shrunk(columns, _widths(cells), width, gap)
    lines: list[str] = []
    for number, row in enumerate(cells):
        folded = [_folded(cell, widths[i]) for i, cell in enumerate(row)]
        for part in range(max(len(pieces) for pieces in folded)):
            pieces = [pieces[part] if part < len(pieces) else "" for pieces in folded]
            line = _line(columns, pieces, widths, gap)
            lines.append(_coloured(line, row, is_title=number == 0) if colours else line)
    return "\n".join(lines)


def _widths(cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(_cell_width(row[i]) for row in cells) for i in range(len(cells[0]))]


def _total(widths: Sequence[int], gap: int) -> int:
    return sum(widths) + gap * (len(widths) - 1)


def _shrunk(columns: Sequence[Column], widths: list[int], width: int, gap: int) -> list[int]:
    """Take what is too much from the widest of the columns that may give way."""
    widths = list(widths)
    while (excess := _total(widths, gap) - width) > 0:
        able = [i for i, column in enumerate(columns) if column.may_wrap and widths[i] > _NARROWEST]
        if not able:
            break
        widest = max(able, key=lambda i: widths[i])
        second = max((widths[i] for i in able if i != widest), default=_NARROWEST)
        widths[widest] -= min(excess, max(1, widths[widest] - second), widths[widest] - _NARROWEST)
    return widths


def _folded(cell: str, width: int) -> list[str]:
    if _cell_width(cell) <= width:
        return [cell]
    import textwrap  # for narrow terminals only

    return textwrap.wrap(cell, width, break_on_hyphens=False)


def _line(columns: Sequence[Column], cells: Sequence[str], widths: Sequence[int], gap: int) -> str:
    padded: list[str] = []
    for column, cell, width in zip(columns, cells, widths):  # noqa: B905 - of one length
        space = " " * (width - _cell_width(cell))
        padded.append(space + cell if column.is_number else cell + space)
    return (" " * gap).join(padded).rstrip()


def _coloured(line: str, row: Sequence[str], *, is_title: bool) -> str:
    if is_title:
        return click.style(line, bold=True)
    state = next((cell for cell in row if cell in _COLOURS), None)
    return line if state is None else line.replace(state, click.style(state, fg=_COLOURS[state]), 1)


def _cell_width(text: str) -> int:
    """Return the columns that a text takes on a terminal: wide characters of East Asia take two."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(2 if unicodedata.east_asian_width(sign) in "WF" else not unicodedata.combining(sign) for sign in text)


def duration_text(seconds: float | None) -> str:
    """Return a duration as `0d-00:02:21`, "-" when there is none."""
    if seconds is None:
        return "-"
    minutes, second = divmod(max(0, int(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    day, hour = divmod(hours, 24)
    return f"{day}d-{hour:02}:{minute:02}:{second:02}"


def time_of(text: str | None) -> datetime | None:
    """Return the time that a document carries."""
    return None if text is None else datetime.fromisoformat(text.replace("Z", "+00:00"))


def local_time(text: str | None) -> str:
    """Return a document's time as people read it, in their own zone: `2026-11-23 11:45:38`."""
    time = time_of(text)
    return "-" if time is None else time.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def seconds_between(start: str | None, end: str | None, now: datetime | None = None) -> float | None:
    """Return the seconds from one time to another, or to now; None before the start."""
    first, last = time_of(start), time_of(end) or now or datetime.now(timezone.utc)
    return None if first is None else (last - first).total_seconds()


def plural(count: int, noun: str) -> str:
    """Return `1 machine`, `2 machines`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def value_text(value: object) -> str:
    """Return a hyperparameter as it was typed, nearly."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


class ProgressLine:
    """A line on stderr that is written over and over; nothing at all where stderr is no terminal."""

    def __init__(self) -> None:
        self.is_possible = sys.stderr.isatty()
        self._shown = ""
        self._shown_s = 0.0

    @property
    def is_due(self) -> bool:
        """Whether it is time to show how far something is that is told very often."""
        return self.is_possible and time.monotonic() - self._shown_s >= _SHOWN_EVERY_S

    def show(self, text: str) -> None:
        """Show a text in place of the one before."""
        text = " ".join(text.split())[: shutil.get_terminal_size().columns - 1]
        if self.is_possible and text != self._shown:
            click.echo(f"\r\x1b[K{text}", err=True, nl=False)
            self._shown = text
            self._shown_s = time.monotonic()

    def clear(self) -> None:
        """Remove the line."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
            self._shown = ""


def _has_colours() -> bool:
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
