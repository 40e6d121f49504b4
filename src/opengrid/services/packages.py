"""What Python packages lie in folders."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name


def installed(folders: Iterable[Path]) -> list[str]:
    """Return what is installed as `name==version`, sorted; of several versions the first folder's."""
    found: dict[str, str] = {}
    for folder in folders:
        for entry in sorted(folder.glob("*.dist-info")):
            name, _, version = entry.name.removesuffix(".dist-info").partition("-")
            found.setdefault(canonicalize_name(name), version)
    return [f"{name}=={version}" for name, version in sorted(found.items())]
