"""Small wheels in a folder that stands for a package index."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path


def make_wheel(folder: Path, name: str, version: str, needs: Sequence[str] = (), code: str = "") -> Path:
    """Write a wheel of one package, whose `VERSION` is its version."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n{code}")
        lines = [f"Requires-Dist: {each}" for each in needs]
        wheel.writestr(
            f"{about}/METADATA",
            "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *lines, ""]),
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/entry_points.txt", f"[console_scripts]\n{name}-tool = {name}:main\n")
        wheel.writestr(f"{about}/RECORD", "")
    return path


def index_variables(folder: Path) -> dict[str, str]:
    """Return the environment in which pip and uv know no packages but those of a folder."""
    return {
        "PIP_FIND_LINKS": str(folder),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": "/dev/null",
        "UV_FIND_LINKS": str(folder),
        "UV_NO_INDEX": "1",
        "UV_DEFAULT_INDEX": (folder / "simple").as_uri(),
        "UV_INDEX": "",
        "UV_CONSTRAINT": "",
    }
