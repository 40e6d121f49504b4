"""The folder in which an environment is made: by the server on its computer, by the agents on a cluster's machines."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.interpreters import installed, site_packages

#: Packages that builds of others bring in their own versions.
_TOOLS = ("pip", "setuptools", "wheel")


@dataclass(frozen=True, slots=True)
class Workshop:
    """A temporary folder; of all that is in it, `overlay` remains."""

    folder: Path
    python: str  #: interpreter that packages are made for; "" for a program that is no Python

    @property
    def overlay(self) -> Path:
        """Return the folder that ranks will import from."""
        return self.folder / "overlay"

    @property
    def tree(self) -> Path:
        """Return where the copy of the user's tree lies in which actions run."""
        return self.folder / "tree"

    def action_variables(self, variables: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of an action: these variables, and a pip that installs into this folder.

        What the interpreter has stays as it is, and in the version that it is.
        """
        theirs = installed(site_packages(self.python)) if self.python else []
        fixed = [each for each in theirs if each.partition("==")[0] not in _TOOLS]
        constraints = self.folder / "installed.txt"
        constraints.write_text("".join(f"{each}\n" for each in fixed))
        folders = [str(self.overlay), variables.get("PYTHONPATH", "")]
        path = [str(self.overlay / "bin"), str(self._prefix / "bin"), os.path.dirname(self.python)]
        return {
            **variables,
            "PATH": os.pathsep.join([*filter(None, path), variables.get("PATH", os.defpath)]),
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
            "PIP_PREFIX": str(self._prefix),
            "PIP_CONSTRAINT": str(constraints),
        }

    def gather(self) -> None:
        """Move what an action's pip has installed to where ranks import from."""
        sources = [
            *self._prefix.glob("lib/python3*/*-packages"),
            *self._prefix.glob("local/lib/python3*/*-packages"),
        ]
        moves = [(entry, self.overlay / entry.name) for source in sources for entry in source.iterdir()]
        moves += [(entry, self.overlay / "bin" / entry.name) for entry in self._prefix.glob("bin/*")]
        for entry, place in moves:
            place.parent.mkdir(exist_ok=True)
            if place.is_dir() and not place.is_symlink():
                shutil.rmtree(place)
            os.replace(entry, place)
        shutil.rmtree(self._prefix, ignore_errors=True)

    @property
    def _prefix(self) -> Path:
        return self.folder / "prefix"
