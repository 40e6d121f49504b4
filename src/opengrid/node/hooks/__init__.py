"""What is put on the path of ranks that use Lightning: modules, and the entry points by which Lightning finds them.

A folder with a `*.dist-info` beside the modules is enough for that: nothing is installed.
"""

from __future__ import annotations

import pkgutil
from pathlib import Path

#: The module that Lightning finds. It stands among the user's own, so it carries our name.
MODULE = "opengrid_lightning"

_MODULES = (MODULE, "opengrid_metrics")

_GROUPS = ("lightning.pytorch.callbacks_factory", "pytorch_lightning.callbacks_factory")


def write_hooks(folder: Path) -> None:
    """Write the modules and their entry points into a folder. Raises OSError."""
    about = folder / f"{MODULE}-1.dist-info"
    about.mkdir(parents=True, exist_ok=True)
    for module in _MODULES:
        (folder / f"{module}.py").write_bytes(pkgutil.get_data(__name__, f"{module}.py") or b"")
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1\n")
    entries = [f"[{group}]\nopengrid = {MODULE}:callbacks_for_{group.partition('.')[0]}\n" for group in _GROUPS]
    (about / "entry_points.txt").write_text("\n".join(entries))
