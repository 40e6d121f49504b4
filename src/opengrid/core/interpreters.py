"""An interpreter's packages by where they usually lie, without asking it: that costs more than it is worth."""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

#: What of a process's own environment an installation sees: where packages come from, and the way there.
_OF_A_BUILD = re.compile(
    r"PATH|HOME|USER|LANG|LC_\w+|TMPDIR|UV_\w+|PIP_\w+|SSL_CERT_\w+|XDG_\w+|\w+_proxy|\w+_PROXY", re.ASCII
)


def site_packages(python: str) -> list[Path]:
    """Return an interpreter's package folders, by where they usually lie."""
    return sorted(Path(python).parent.parent.glob("lib/python3*/*-packages"))


def installed(folders: Iterable[Path]) -> list[str]:
    """Return what is installed as `name==version`, sorted; of several versions the first folder's."""
    return list(_installed(tuple((folder, _changed_ns(folder)) for folder in folders)))


def _changed_ns(folder: Path) -> int:
    """Return when something was last installed there or removed."""
    try:
        return folder.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


@functools.lru_cache(maxsize=32)
def _installed(folders: tuple[tuple[Path, int], ...]) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for folder, _ in folders:
        for entry in sorted(folder.glob("*.dist-info")):
            name, _, version = entry.name.removesuffix(".dist-info").partition("-")
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), version)
    return tuple(f"{name}=={version}" for name, version in sorted(found.items()))


def torch_of(python: str) -> list[str]:
    """Return the torch that an interpreter has, as a constraint: nothing may take its place."""
    return [each for each in installed(site_packages(python)) if each.startswith("torch==")]


def changed_at(python: str) -> str:
    """Return a text that is another one when something was installed into an interpreter, or it was replaced."""
    paths = [Path(python), *site_packages(python)] if python else []
    return json.dumps({str(path): os.stat(path).st_mtime_ns if path.exists() else 0 for path in paths})


def build_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what an installation sees of an environment."""
    return {name: value for name, value in environ.items() if _OF_A_BUILD.fullmatch(name)}
