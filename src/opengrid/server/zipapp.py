"""The agent as one file: core, client and node, zipped, with byte code for this interpreter so that it starts at once.

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

_PACKAGES = ("core", "client", "node")
_MAIN = "import sys\nfrom opengrid.node.__main__ import main\nsys.exit(main(sys.argv[1:]))\n"


class Zipapp:
    """Builds the agent's zipapp when it is first needed; one per content and interpreter version."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._path: Path | None = None

    def path(self) -> Path:
        """Return the zipapp, built by now."""
        with self._lock:
            if self._path is None:
                self._path = _build(self._folder)
            return self._path


def _build(folder: Path) -> Path:
    root = Path(opengrid.__file__).parent
    sources = [root / "__init__.py", *(p for package in _PACKAGES for p in sorted((root / package).rglob("*.py")))]
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
