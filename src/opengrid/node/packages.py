"""The packages of a run on a machine of a cluster: what its interpreter lacks, installed once for each content.

With the interpreter's own pip, so that nothing else need be there: it says what is missing, and installs exactly that
into a folder that ranks import from. The interpreter itself is left as it is. The user's actions around it bring more.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import cast

from opengrid.core.errors import GridError, Unusable
from opengrid.core.interpreters import build_variables, changed_at, installed, site_packages, torch_of
from opengrid.core.masking import Masks
from opengrid.core.protocol import Assignment, Packages
from opengrid.core.workshop import Workshop
from opengrid.node import spawn
from opengrid.node.workspace import unpack

#: All of an installation may take so long.
_LONGEST_S = 3600.0

#: Carries out an action in a folder, with these variables; GridError when it fails.
Act = Callable[[str, Path, Mapping[str, str]], None]


def overlay_of(assignment: Assignment) -> str | None:
    """Return the folder with the packages that this machine's interpreter lacks; None when nothing names any.

    Another one for each content, interpreter and state of it.
    """
    if assignment.packages is None:
        return assignment.overlay
    wanted, python = assignment.packages, _python(assignment)
    tree = assignment.bundle if wanted.needs_the_tree else None
    named = [wanted.requirements, wanted.constraints, wanted.editable]
    actions = [wanted.before, wanted.after, wanted.directory]
    content = json.dumps([*named, *actions, tree, python, changed_at(python)])
    return str(Path(wanted.folder, hashlib.sha256(content.encode()).hexdigest()[:32]))


def found(assignment: Assignment) -> tuple[str, ...]:
    """Return all packages that ranks find here, as `name==version`: the run's own, and the interpreter's."""
    own = [Path(assignment.overlay)] if assignment.overlay is not None else []
    return tuple(installed([*own, *site_packages(_python(assignment))]))


class PackageMaker:
    """Makes the folder that `overlay_of` names, unless it is there."""

    def __init__(self, assignment: Assignment, environ: Mapping[str, str]) -> None:
        self._assignment, self._python = assignment, _python(assignment)
        self._variables = {
            **build_variables(environ),
            **assignment.environment,
            "GRID_USER_ID": assignment.user,
            "GRID_CLUSTER_ID": assignment.cluster,
            "GRID_INSTANCE_TYPE": assignment.instance_type,
            "PIP_BREAK_SYSTEM_PACKAGES": "1",  # those that belong to the system: nothing is installed into them here
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "SETUPTOOLS_SCM_PRETEND_VERSION": "0.0.0",  # the tree has no history to find a version in
        }
        self._masks = Masks(assignment.masked)
        self._process: subprocess.Popen[str] | None = None
        self._is_cancelled = False
        self._lock = threading.Lock()

    def make(self, bundle: Callable[[], Path], act: Act) -> str:
        """Make what is missing; return what was installed, "" when nothing had to be. Blocks; GridError says why not.

        The folder appears when it is whole. `bundle` brings the user's tree, for actions and packages that lie in it.
        """
        wanted, overlay = self._assignment.packages, self._assignment.overlay
        if wanted is None or overlay is None:
            return ""
        target = Path(overlay)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(os.open(f"{target}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # another experiment's agent may be making the same
            if target.is_dir():
                return ""
            part, began = Path(f"{target}.part"), time.monotonic()
            shutil.rmtree(part, ignore_errors=True)
            shop = Workshop(part, self._python)
            try:
                shop.overlay.mkdir(parents=True)
                shop.tree.mkdir()
                if wanted.needs_the_tree:
                    unpack(bundle(), shop.tree)
                self._carry_out(wanted.before, wanted, shop, act)
                names = self._install(wanted, shop) if wanted.requirements else []
                self._carry_out(wanted.after, wanted, shop, act)
                os.rename(shop.overlay, target)
            except OSError as error:
                raise Unusable(
                    f"cannot keep packages in {target.parent}: {error.strerror}",
                    hint="free space there, or choose another --work-dir for the cluster",
                ) from error
            finally:
                shutil.rmtree(part, ignore_errors=True)
            count = len(wanted.before) + len(wanted.after)
            done = [f"carried out {count} action{'s' if count > 1 else ''}"] if count else []
            done += [f"installed {', '.join(names)}"] if names else []
            return f"{' and '.join(done)} in {time.monotonic() - began:.0f} s" if done else "no package is missing"

    def cancel(self) -> None:
        """End the command that runs, and begin no other one."""
        with self._lock:
            self._is_cancelled = True
            if self._process is not None and self._process.poll() is None:
                spawn.kill_groups({self._process.pid})

    def _carry_out(self, actions: Sequence[str], wanted: Packages, shop: Workshop, act: Act) -> None:
        """Carry actions out in the copy of the tree, which ends with the installation."""
        if not actions:
            return
        start = shop.tree / wanted.directory
        start.mkdir(parents=True, exist_ok=True)
        variables = shop.action_variables(self._variables)
        for action in actions:
            act(action, start, variables)
            shop.gather()

    def _install(self, wanted: Packages, shop: Workshop) -> list[str]:
        """Install what is missing into the overlay; return it. Paths among the requirements are the tree's."""
        _write(shop.folder / "requirements.txt", wanted.requirements)
        _write(shop.folder / "constraints.txt", [*wanted.constraints, *torch_of(self._python)])
        files = ("-r", "../requirements.txt", "-c", "../constraints.txt")
        self._pip(wanted, shop.tree, "--dry-run", "--quiet", "--report", "../report.json", *files)
        imported = {(shop.tree / folder).resolve().as_uri() for folder in wanted.editable}
        packages = _packages((shop.folder / "report.json").read_text(), imported)
        if packages:
            options = [line for line in wanted.requirements if line.startswith("-") and line != "--require-hashes"]
            _write(shop.folder / "missing.txt", [*options, *packages])
            self._pip(wanted, shop.tree, "--no-deps", "--upgrade", "--target", "../overlay", "-r", "../missing.txt")
        return [each.partition(" @ ")[0] for each in packages]

    def _pip(self, wanted: Packages, folder: Path, *arguments: str) -> None:
        with self._lock:
            if self._is_cancelled:
                raise GridError("stopped while its packages were installed")
            try:
                process = subprocess.Popen(
                    [self._python, "-m", "pip", "install", *arguments],
                    cwd=folder,
                    env=self._variables,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    start_new_session=True,
                )
            except OSError as error:
                raise Unusable(
                    f"cannot run {self._python}: {error.strerror}",
                    hint=f"`grid edit cluster {self._assignment.cluster} --python PATH` names another",
                ) from error
            self._process = process
        try:
            said, _ = process.communicate(timeout=_LONGEST_S)
        except subprocess.TimeoutExpired:
            said = f"ERROR: it took over {_LONGEST_S:g} s"
        finally:
            spawn.kill_groups({process.pid})  # what it left running
            process.wait()
        if process.returncode != 0:
            raise Unusable(f"{wanted.file}: {self._masks.hide_text(_reason(said))}", hint=_hint(said, self._python))


def _python(assignment: Assignment) -> str:
    return assignment.python or sys.executable


def _write(path: Path, lines: Sequence[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines))


def _packages(report: str, imported: Collection[str]) -> list[str]:
    """Return what pip would install, each as a line of a requirements file, from its report.

    But for what ranks import from these folders of the tree.
    """
    found: list[str] = []
    for item in cast("dict[str, list[dict[str, dict[str, str]]]]", json.loads(report))["install"]:
        about, url = item["metadata"], item["download_info"]["url"]
        if url.rstrip("/") not in imported:
            found.append(
                f"{about['name']} @ {url}" if item.get("is_direct") else f"{about['name']}=={about['version']}"
            )
    return found


def _reason(said: str) -> str:
    """Return why pip failed, in its own words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])[:2000] or "pip failed without a word"


def _hint(said: str, python: str) -> str:
    if "No module named pip" in said:
        return f"{python} -m ensurepip gives that machine's interpreter its pip"
    if "no such option: --report" in said:
        return f"{python} -m pip install --upgrade pip: 22.2 or newer is needed there"
    return "pip there has the machine's settings and --env's (PIP_INDEX_URL …); --dependency_file none installs nothing"
