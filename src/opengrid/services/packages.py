"""What Python packages lie in folders, without asking an interpreter: that costs more than it is worth."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name


def site_packages(python: str) -> list[Path]:
    """Return an interpreter's package folders, by where they usually lie."""
    return sorted(Path(python).parent.parent.glob("lib/python3*/*-packages"))


def installed(folders: Iterable[Path]) -> list[str]:
    """Return what is installed as `name==version`, sorted; of several versions the first folder's."""
    found: dict[str, str] = {}
    for folder in folders:
        for entry in sorted(folder.glob("*.dist-info")):
            name, _, version = entry.name.removesuffix(".dist-info").partition("-")
            found.setdefault(canonicalize_name(name), version)
    return [f"{name}=={version}" for name, version in sorted(found.items())]


def changed_at(python: str) -> str:
    """Return a text that is another one when something was installed into an interpreter, or it was replaced."""
    paths = [Path(python), *site_packages(python)] if python else []
    return json.dumps({str(path): os.stat(path).st_mtime_ns if path.exists() else 0 for path in paths})
