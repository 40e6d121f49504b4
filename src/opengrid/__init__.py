"""OpenGrid: `grid run --gpus 8 train.py` turns a script into one multi-node training.

From Python: `from opengrid import Grid`, then `Grid().run("train.py", gpus=8).wait()`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from opengrid.core.errors import GridError as GridError
    from opengrid.core.spec import Actions as Actions
    from opengrid.sdk.grid import Grid as Grid

__version__ = "0.1.0"

#: What is loaded when it is asked for: every process of ours imports this module, and few of them need more.
_HOMES = {"Actions": "opengrid.core.spec", "Grid": "opengrid.sdk.grid", "GridError": "opengrid.core.errors"}


def __getattr__(name: str) -> object:
    """Load what is asked for, when it first is."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """Return what there is, loaded or not."""
    return [*globals(), *_HOMES]
