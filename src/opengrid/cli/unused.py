"""Options of the original `grid run` that have no effect here: taken, not shown in the help, and said to do nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import click

from opengrid.cli.output import note
from opengrid.planning.unused import UNUSED

F = TypeVar("F", bound=Callable[..., object])

_FLAGS = ("ignore_warnings",)


def unused_options(function: F) -> F:
    """Add the options that have no effect."""
    for name in UNUSED:
        function = click.option(
            f"--{name}", is_flag=name in _FLAGS, hidden=True, expose_value=False, callback=_note, help=UNUSED[name]
        )(function)
    return function


def _note(context: click.Context, parameter: click.Parameter, value: object) -> None:
    if value and not context.resilient_parsing:
        note(f"--{parameter.name} has no effect: {UNUSED[str(parameter.name)]}")
