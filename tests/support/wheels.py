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


#: A package whose build needs nothing but itself, and tells what it needs only when it is built.
_BACKEND = """\
import sys
sys.path.insert(0, {support!r})
from wheels import make_wheel
from pathlib import Path

def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    code = Path({name!r}, "__init__.py").read_text()
    return make_wheel(Path(wheel_directory), {name!r}, "0.1", {needs!r}, code).name
"""


def make_project(name: str, needs: Sequence[str], code: str = "") -> dict[str, str]:
    """Return the files of a package's sources, which no index is asked for to build."""
    system = 'requires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    return {
        "pyproject.toml": f"[build-system]\n{system}",
        "backend.py": _BACKEND.format(name=name, needs=list(needs), support=str(Path(__file__).parent)),
        f"{name}/__init__.py": code,
    }


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
