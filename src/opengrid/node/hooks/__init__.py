"""What is put on the path of ranks that use Lightning: a module, and the entry points by which Lightning finds it.

A folder with a `*.dist-info` beside the module is enough for that: nothing is installed.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

#: Of the module: it stands among the user's own, so it carries our name.
MODULE = "opengrid_lightning"

_GROUPS = ("lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory")


def write_hooks(folder: Path) -> None:
    """Write the module and its entry points into a folder. Raises OSError."""
    source = pkgutil.get_data(__name__, f"{MODULE}.py") or b""
    about = folder / f"{MODULE}-1.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    (folder / f"{MODULE}.py").write_bytes(source)
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
    entries = [f"[{group}]\nopengrid = {MODULE}:callbacks_for_{group.partition('.')[0]}\n" for group in _GROUPS]
    (about / "entry_points.txt").write_text("\n".join(entries))
