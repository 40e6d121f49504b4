"""Agents, and drivers inside Ray clusters, as one file: zipped, with byte code for this interpreter, to start at once.

Named by its content and never overwritten: a zip that is replaced under a running program breaks its next import.
"""

from __future__ import annotations

import hashlib
import os
import py_compile
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

import opengrid

#: What runs on machines: agents, and the drivers of gangs inside Ray clusters, with the packages that lead to them.
_PACKAGES = ("core", "client", "node", "engines/ray/inside")
_FILES = ("__init__.py", "engines/__init__.py", "engines/ray/__init__.py")

_MAIN = "import sys\nfrom opengrid.node.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


class Zipapp:
    """Builds the agent's zipapp when it is first needed; one per content and interpreter version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._path: Path | None = None
        self._digest: str | None = None

    def path(self) -> Path:
        """Return the zipapp, built by now."""
        with self._lock:
            if self._path is None:
                self._path = _build(self._folder)
            return self._path

    def digest(self) -> str:
        """Return the SHA-256 of the zipapp."""
        path = self.path()
        with self._lock:
            if self._digest is None:
                self._digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return self._digest

    def find(self, digest: str) -> Path | None:
        """Return the zipapp with this SHA-256, a former server's too: its agents may have to be started anew."""
        if digest == self.digest():
            return self.path()
        older = self._folder.glob("agent-*.pyz")
        return next((path for path in older if hashlib.sha256(path.read_bytes()).hexdigest() == digest), None)


def _build(folder: Path) -> Path:
    root = Path(opengrid.__file__).parent
    sources = [root / name for name in _FILES]
    sources += [path for package in _PACKAGES for path in sorted((root / package).rglob("*.py"))]
    content = hashlib.sha256(sys.version.encode())
    for source in sources:
        content.update(source.relative_to(root).as_posix().encode() + b"\0" + source.read_bytes())
    target = folder / f"agent-{content.hexdigest()[:16]}.pyz"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        partial = Path(scratch) / "agent.pyz"
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr("__main__.py", _MAIN)
            for source in sources:
                name = (Path("opengrid") / source.relative_to(root)).as_posix()
                archive.write(source, name)
                archive.write(_byte_code(source, name, Path(scratch)), name + "c")
        os.replace(partial, target)
    return target


def _byte_code(source: Path, name: str, scratch: Path) -> Path:
    """Compile one module; another interpreter version ignores the result and reads the source beside it."""
    compiled = scratch / "module.pyc"
    py_compile.compile(
        str(source),
        cfile=str(compiled),
        dfile=name,
        doraise=True,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
    return compiled
