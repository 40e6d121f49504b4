"""Lengths of time among the options of commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    _Seconds = click.ParamType[float | None]
else:
    _Seconds = click.ParamType


class Duration(_Seconds):
    """A length of time with its units, in seconds."""

    name = "1h30m"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the seconds."""
        text = str(value)
        match = re.fullmatch(r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?", text)
        if match is None or not text:
            self.fail(f"{text!r} is no length of time: write 2d, 1h30m, 90m or 45s", param, ctx)
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
