"""What an interpreter has, told by itself without importing any of it: `python agent.pyz probe` prints JSON."""

from __future__ import annotations

import importlib.machinery
import json
import os
import re
import site
import sys
import sysconfig
from dataclasses import dataclass

_PACKAGES = ("torch", "lightning", "pytorch_lightning")


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One interpreter."""

    version: str  #: "3.11.9"
    executable: str
    prefix: str
    versions: dict[
        str, str
    ]  #: of torch, lightning, pytorch_lightning, where installed; "" when the version is not known
    site_packages: tuple[str, ...]
    purelib: str


def probe() -> Probe:
    """Describe the running interpreter. Takes milliseconds: looks at folders' names, imports nothing of the user's."""
    folders = _site_packages()
    found = {name: _version(name, folders) for name in _PACKAGES}
    return Probe(
        version=".".join(map(str, sys.version_info[:3])),
        executable=sys.executable,
        prefix=sys.prefix,
        versions={name: version for name, version in found.items() if version is not None},
        site_packages=tuple(folders),
        purelib=sysconfig.get_path("purelib"),
    )


def probe_main(arguments: list[str]) -> int:
    """`probe`: print the Probe as JSON."""
    found = probe()
    print(json.dumps({name: getattr(found, name) for name in Probe.__slots__}))
    return 0


def _site_packages() -> list[str]:
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    return [folder for folder in [*site.getsitepackages(), *user] if os.path.isdir(folder)]


def _version(name: str, folders: list[str]) -> str | None:
    # importlib.metadata would say the same, and takes longer to import than everything else here together.
    pattern = re.compile(rf"{name}-([^-]+)(-.*)?\.(dist-info|egg-info)$", re.IGNORECASE)
    for folder in folders:
        for entry in os.listdir(folder):
            match = pattern.match(entry.replace("pytorch-lightning", "pytorch_lightning"))
            if match:
                return match.group(1)
    # Without a record, as from a source tree on a path.
    return "" if importlib.machinery.PathFinder.find_spec(name, sys.path[1:]) is not None else None
