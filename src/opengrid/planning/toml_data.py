"""TOML on every Python that we support: the standard library's reader, or tomli, which is the same one, on 3.10."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from importlib.resources import files
from typing import cast

from opengrid.core.errors import InvalidValue

_reader = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
_loads = cast("Callable[[str], dict[str, object]]", _reader.loads)


def parse_toml(text: str, origin: str) -> dict[str, object]:
    """Return the document; InvalidValue names `origin` and the place that is no TOML."""
    try:
        return _loads(text)
    except ValueError as error:
        raise InvalidValue(f"{origin}: {error}") from None


def packaged_text(name: str) -> str:
    """Return a data file that lies beside this module."""
    return files("opengrid.planning").joinpath(name).read_text("utf-8")
