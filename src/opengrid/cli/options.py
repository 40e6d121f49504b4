"""What all commands share: `-o`, `--debug`, spellings of options, and the way to the server."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import click

from opengrid.cli.output import Settings, note, tell

if TYPE_CHECKING:
    from opengrid.client.api import Api

F = TypeVar("F", bound=Callable[..., object])

_NOTED = "opengrid.noted"


def global_options(function: F) -> F:
    """Add `-o/--output` and `--debug`, which mean the same before and after a command's name."""
    function = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        callback=_set_debug,
        help="Show tracebacks of errors, and every request to the server.",
    )(function)
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["console", "json"]),
        expose_value=False,
        callback=_set_output,
        help="json: exactly one JSON document on stdout.",
    )(function)


def same_option(name: str) -> str:
    """Return the one spelling of an option: dashes are underscores, and `--grid_gpus`, `--g_gpus` are `--gpus`."""
    plain = name.replace("-", "_")
    for prefix in ("grid_", "g_"):
        if plain.startswith(prefix):
            short = plain[len(prefix) :]
            _note_once(f"--{plain} is called --{short} now")
            return short
    return plain


@contextmanager
def connected() -> Generator[Api]:
    """Give the API of the server that is signed in to, or this user's own, which is started when it is needed."""
    # Commands that need no server need not load the way to it.
    from opengrid.client.api import Api
    from opengrid.client.connect import connect

    debug = click.get_current_context().find_root().ensure_object(Settings).debug
    server = connect(os.environ, tell=note, trace=tell if debug else None)
    try:
        yield Api(server)
    finally:
        server.close()


def _set_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(Settings).debug = True


def _set_output(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_root().ensure_object(Settings).is_json = value == "json"


def _note_once(message: str) -> None:
    context = click.get_current_context(silent=True)
    noted: set[str] = context.find_root().meta.setdefault(_NOTED, set()) if context else set()
    if message not in noted:
        noted.add(message)
        note(message)
