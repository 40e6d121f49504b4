"""Options of Grid's that stand after the script, and so went to it."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path

from opengrid.client.program import Typed

_LONGEST_SCRIPT = 4 << 20


def misplaced_options(typed: Typed, ours: Collection[str]) -> list[str]:
    """Return a note for every one of our options after the script that the script's text shows no use for."""
    text = _text_of(typed.file)
    if text is None:
        return []
    notes: list[str] = []
    for argument in typed.arguments:
        if argument == "--":
            break
        option = argument.partition("=")[0]
        if option.startswith("--") and f"--{_plain(option)}" in ours and not _mentions(text, _plain(option)):
            notes.append(
                f"{option} stands after {typed.target}, so it goes to the script, which does not seem to know it; "
                f"for grid it must stand before"
            )
    return list(dict.fromkeys(notes))


def _plain(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _mentions(text: str, option: str) -> bool:
    """Whether a script's text has an option: as such, as a quoted name, or as an annotated field or parameter."""
    name = option.replace("_", "[-_]")
    return re.search(rf"--{name}\b|[\"']{name}[\"']|\b{name}\s*:", text) is not None


def _text_of(file: Path | None) -> str | None:
    """Return the text of a script; None for a module, a command, and what is no text."""
    if file is None or file.stat().st_size > _LONGEST_SCRIPT:
        return None
    content = file.read_bytes()
    return None if b"\0" in content else content.decode(errors="replace")
