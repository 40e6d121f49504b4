"""Which modules the ranks' template should have imported, from what a script imports. Reads the text, runs nothing."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator

#: For programs without `ast`: lines that begin an import.
_IMPORT_LINE = re.compile(
    r"^[ \t]*(?:from[ \t]+(?P<origin>[\w.]+)[ \t]+import|import[ \t]+(?P<modules>[\w., \t]+))", re.MULTILINE
)


#: Stands for a module of the script's own package.
_RELATIVE = "<relative>"


def preload_modules(text: str) -> tuple[str, ...]:
    """Return the modules to preload for a script that runs under a torch framework.

    torch when the script imports it or anything else beyond the standard library (its own modules, say, which most
    likely import torch); lightning.pytorch and pytorch_lightning only when it imports them itself. Nothing for a script
    that stays inside the standard library, and for no text.
    """
    packages = {module.partition(".")[0] for module in _imports(text)}
    lightning: list[str] = []
    if "lightning" in packages:
        lightning.append("lightning.pytorch")  # importing any part of lightning imports this one
    if "pytorch_lightning" in packages:
        lightning.append("pytorch_lightning")
    if packages - sys.stdlib_module_names:
        return ("torch", *lightning)
    return ()


def _imports(text: str) -> Iterator[str]:
    """Yield the names of all modules that are imported anywhere in the text."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        # Written for another Python, say: the interpreter of the ranks is not this one.
        yield from _imports_by_line(text)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module if node.module and not node.level else _RELATIVE


def _imports_by_line(text: str) -> Iterator[str]:
    for match in _IMPORT_LINE.finditer(text):
        if match["origin"] is not None:
            yield _RELATIVE if match["origin"].startswith(".") else match["origin"]
        else:
            yield from (part.split()[0] for part in match["modules"].split(",") if part.strip())
