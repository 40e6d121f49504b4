"""One build: actions before the dependencies, the dependencies, actions after them; all of it or nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import tarfile
import threading
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from opengrid.core.interpreters import torch_of
from opengrid.core.masking import Masker, Masks
from opengrid.core.workshop import Workshop
from opengrid.planning.environment import Recipe
from opengrid.services import uv

_LONGEST_S = 3600.0
_BLOCK = 1 << 16
_TAIL = 8 << 10


class BuildFailed(Exception):
    """A command of a build failed; the message is for people."""


class Commands:
    """Runs the commands of one build, one after the other; what they write goes to its log, without secrets."""

    def __init__(self, log: Path, secrets: Iterable[str]) -> None:
        self.masks, self._log = Masks(secrets), log
        self._process: subprocess.Popen[bytes] | None = None
        self._killed = False
        self._lock = threading.Lock()  #: lest a command starts that kill() does not see
        self._deadline = time.monotonic() + _LONGEST_S
        with contextlib.suppress(FileNotFoundError):
            log.unlink()

    def run(self, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], *, title: str) -> str:
        """Run a command to its end and return what it wrote; BuildFailed when it ends with anything but 0."""
        with self._lock:
            if self._killed:
                raise BuildFailed("the server ended meanwhile")
            self._write(self.masks.hide(f"$ {title}\n".encode()))
            try:
                process = subprocess.Popen(
                    arguments,
                    cwd=folder,
                    env=dict(environment),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise BuildFailed(f"{title}: {error.strerror}") from error
            self._process = process
        overdue = threading.Timer(max(0.0, self._deadline - time.monotonic()), self.kill)
        overdue.start()
        try:
            said = self._follow(process)
            code = process.wait()
        finally:
            overdue.cancel()
            with contextlib.suppress(ProcessLookupError):  # what it left running
                os.killpg(process.pid, signal.SIGKILL)
        if code != 0:
            why = uv.reason(said.decode(errors="replace")) if arguments[0] == uv.program() else f"it ended with {code}"
            raise BuildFailed(f"{title}: {why}")
        return said.decode(errors="replace")

    def kill(self) -> None:
        """End the command that runs, and start no other one."""
        with self._lock:
            self._killed = True
            if self._process is not None and self._process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def tail(self) -> str:
        """Return the end of the log."""
        try:
            return self._log.read_bytes()[-_TAIL:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _follow(self, process: subprocess.Popen[bytes]) -> bytes:
        said, masker = bytearray(), Masker(self.masks)
        if process.stdout is None:
            raise AssertionError("started with a pipe")
        while block := os.read(process.stdout.fileno(), _BLOCK):
            said += block
            self._write(masker.feed(block))
        self._write(masker.feed(b"", is_last=True))
        return bytes(said)

    def _write(self, data: bytes) -> None:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with open(descriptor, "ab") as file:
            file.write(data)


class Build:
    """Makes one environment."""

    def __init__(self, recipe: Recipe, bundle: Path | None, variables: Mapping[str, str], commands: Commands) -> None:
        self._recipe, self._bundle, self._variables, self._commands = recipe, bundle, variables, commands

    def make(self, target: Path) -> None:
        """Make the environment's folder, which appears when it is whole. BuildFailed says what went wrong."""
        part = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
        shop = Workshop(part, self._recipe.python)
        try:
            shop.overlay.mkdir(parents=True)
            self._act(self._recipe.before, shop)
            packages = self._install(shop) if self._recipe.requirements else ()
            self._act(self._recipe.after, shop)
            about = {"overlay": any(shop.overlay.iterdir()), "packages": packages, "python": self._recipe.python}
            (part / "environment.json").write_text(json.dumps(about))
            shutil.rmtree(shop.tree, ignore_errors=True)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(part, target)
        finally:
            shutil.rmtree(part, ignore_errors=True)

    def _install(self, shop: Workshop) -> tuple[str, ...]:
        recipe, python, part = self._recipe, self._recipe.python, shop.folder
        environment = {
            "SETUPTOOLS_SCM_PRETEND_VERSION": "0.0.0",  # the tree has no history to find a version in
            **uv.pip_settings(self._variables, Path(python).parent.parent),
            **self._variables,
        }
        (part / "requirements.txt").write_text("\n".join(recipe.requirements) + "\n")
        (part / "constraints.txt").write_text("\n".join([*recipe.constraints, *torch_of(python)]) + "\n")
        looking = uv.looking_for_missing(python, "../requirements.txt", "../constraints.txt")
        # Paths among the requirements are the tree's.
        said = self._commands.run(looking, self._tree(shop), environment, title="which packages are missing")
        imported = {(shop.tree / folder).as_uri() for folder in recipe.editable}
        packages = tuple(each for each in uv.packages_to_install(said) if each.partition(" @ ")[2] not in imported)
        if packages:
            options = [line for line in recipe.requirements if line.startswith("-") and line != "--require-hashes"]
            (part / "missing.txt").write_text("\n".join([*options, *packages]) + "\n")
            installing = uv.installing(python, "missing.txt", "overlay")
            self._commands.run(installing, part, environment, title=f"install what is missing: {' '.join(packages)}")
            (shop.overlay / ".lock").unlink(missing_ok=True)  # uv's own
        return packages

    def _tree(self, shop: Workshop) -> Path:
        """Return the folder with a copy of the tree, an empty one where the recipe sees none."""
        if not shop.tree.exists():
            shop.tree.mkdir()
            if self._bundle is not None:
                with tarfile.open(self._bundle, "r:") as archive:
                    archive.extractall(shop.tree, filter="tar")
        return shop.tree

    def _act(self, actions: Sequence[str], shop: Workshop) -> None:
        """Carry actions out in the copy of the tree, which ends with the build."""
        if not actions:
            return
        start = self._tree(shop) / self._recipe.directory
        start.mkdir(parents=True, exist_ok=True)
        environment = shop.action_variables(self._variables)
        for action in actions:
            bash = ["bash", "-c", action]
            self._commands.run(bash, start, environment, title=f"action {shlex.quote(action)}")
            shop.gather()
