"""Environments: what runs need beside their interpreters, made once for each content, in threads of the server."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import GridError
from opengrid.core.files import folder_size
from opengrid.core.interpreters import build_variables, changed_at, installed, site_packages
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Run
from opengrid.planning.environment import Environment, EnvironmentState, Recipe, recipe_of, recipe_of_run
from opengrid.planning.pruning import Bounds, Kept, to_remove
from opengrid.services.building import Build, BuildFailed, Commands

log = structlog.get_logger(__name__)

_NOTHING = Environment(state=EnvironmentState.READY)
_AT_ONCE = 2

_ELSEWHERE = """\
The machines of {} make this themselves before their ranks start. What was installed, or why it could not be, stands
among the experiment's events (grid status EXPERIMENT); build actions write into the logs of each machine's first rank.
"""


class Environments:
    """A folder with one environment per content; `changed` hears when one is made or has failed.

    Beside each lie the names of the runs that use it; those of `active_runs` keep it from being removed.
    """

    def __init__(
        self,
        folder: Path,
        blobs: Blobs,
        *,
        secrets_of: Callable[[Run], Mapping[str, str]],
        environment: Mapping[str, str],
        changed: Callable[[], None],
        active_runs: Callable[[], Collection[str]],
        bounds: Bounds,
    ) -> None:
        self._active_runs, self._bounds = active_runs, bounds
        self._folder, self._blobs, self._changed, self._secrets_of = folder, blobs, changed, secrets_of
        self._environment = build_variables(environment)
        self._lock = threading.Lock()
        self._keys: dict[str, str] = {}  #: by run
        self._known: dict[str, Environment] = {}  #: by key: made, being made, or failed
        self._used: set[tuple[str, str]] = set()  #: keys and runs of which it is written down that they belong together
        self._commands: dict[str, Commands] = {}  #: by key: of the builds that are under way
        self._abandoned: set[str] = set()  #: keys of builds that end, or do not begin, because no run waits for them
        self._is_closed = False
        self._workers = ThreadPoolExecutor(max_workers=_AT_ONCE, thread_name_prefix="build")
        folder.mkdir(parents=True, exist_ok=True)
        for half in folder.glob(".*.part"):
            shutil.rmtree(half, ignore_errors=True)

    def look(self, run: Run) -> Environment:
        """Return how a run's environment stands; begin to make it when nobody does. Cheap when it is there."""
        recipe = recipe_of_run(run)
        if recipe is None:
            return _NOTHING
        with self._lock:
            key = self._key(run, recipe)
            known = self._known.get(key)
            if key not in self._commands:
                self._abandoned.discard(key)  # it has not begun yet, and may
            if known is None:
                known = self._known[key] = self._read(key) or self._begin(key, recipe, run)
            if known.state is EnvironmentState.READY and (key, run.id) not in self._used:
                self._runs_folder(key).mkdir(exist_ok=True)
                (self._runs_folder(key) / run.id).touch()
                self._used.add((key, run.id))
            return known

    def keep_only(self, runs: Collection[str]) -> None:
        """End the builds for which none of these runs waits; whoever looks later has them made anew."""
        with self._lock:
            wanted = {self._keys.get(run) for run in runs}
            building = {key for key, known in self._known.items() if known.state is EnvironmentState.BUILDING}
            idle = building - wanted - self._abandoned
            self._abandoned |= idle
            under_way = [commands for key, commands in self._commands.items() if key in idle]
        for commands in under_way:
            commands.kill()

    def forget_failure(self, run: Run) -> None:
        """Let the next look begin anew."""
        with self._lock:
            key = self._keys.pop(run.id, "")
            known = self._known.get(key)
            if known is not None and known.state is EnvironmentState.FAILED:
                del self._known[key]

    def overlay(self, run: Run) -> str | None:
        """Return the folder with what the interpreter of a run lacks; None when it lacks nothing.

        GridError when it is not there any more: it is made again, and may be there the next time.
        """
        environment = self.look(run)
        if environment.state is not EnvironmentState.READY:
            raise GridError(f"the environment of {run.name} is not there any more: it is made again")
        return environment.overlay

    def packages(self, run: Run) -> list[str]:
        """Return all packages that ranks find, as `name==version`: the environment's own, and the interpreter's.

        While that is not there, or where it cannot be made, the interpreter's alone.
        """
        overlay = self.look(run).overlay
        folders = [Path(overlay)] if overlay is not None else []
        if run.plan.python is not None:
            folders += site_packages(run.plan.python)
        return installed(folders)

    def log(self, run: Run, offset: int = 0) -> bytes:
        """Return what the build of a run's environment wrote, from an offset on; nothing when there was none.

        Of a run on a cluster: where that stands.
        """
        recipe = recipe_of_run(run)
        if recipe is None:
            is_made_there = run.plan.cluster != LOCAL_CLUSTER and recipe_of(run.spec, "") is not None
            return _ELSEWHERE.format(run.plan.cluster).encode()[offset:] if is_made_there else b""
        with self._lock:
            path = self._log_file(self._key(run, recipe))
        with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
            file.seek(offset)
            return file.read()
        return b""

    def prune(self, *, now_s: float) -> list[str]:
        """Remove what is beyond the bounds and no active run uses; return the names of what went."""
        kept: list[Kept] = []
        for file in self._folder.glob("*/environment.json"):
            key = file.parent.name
            with self._lock:
                in_use = self._is_used(key)
            runs = self._runs_folder(key)
            used_s = (runs if runs.is_dir() else file).stat().st_mtime
            kept.append(Kept(name=key, size=folder_size(file.parent), used_s=used_s, in_use=in_use))
        gone = [key for key in to_remove(kept, self._bounds, now_s=now_s) if self._remove(key)]
        for log_file in self._folder.glob("*.log"):  # of builds that failed
            is_old = now_s - log_file.stat().st_mtime > self._bounds.longest_unused_s
            if is_old and not (self._folder / log_file.stem).exists():
                log_file.unlink()
        return gone

    def _remove(self, key: str) -> bool:
        """Remove an environment unless it is used after all."""
        aside = self._folder / f".{key}.{uuid.uuid4().hex[:8]}.part"
        with self._lock:
            if self._is_used(key):
                return False
            self._known.pop(key, None)
            os.rename(self._folder / key, aside)
        shutil.rmtree(aside, ignore_errors=True)
        self._log_file(key).unlink(missing_ok=True)
        return True

    def _is_used(self, key: str) -> bool:
        """Return whether active runs use an environment; forget those that have ended. Call with the lock held."""
        folder = self._runs_folder(key)
        runs = {run.name for run in folder.iterdir()} if folder.is_dir() else set[str]()
        active = self._active_runs() if runs else ()  # asked last: who is named here was active before
        for run in runs.difference(active):
            (folder / run).unlink(missing_ok=True)  # which makes this the time of the last use
            self._used.discard((key, run))
        return not runs.isdisjoint(active)

    def _runs_folder(self, key: str) -> Path:
        return self._folder / key / "runs"

    def close(self) -> None:
        """End what is being made: the next server begins it anew."""
        with self._lock:
            self._is_closed = True
            under_way = list(self._commands.values())
        self._workers.shutdown(wait=False, cancel_futures=True)
        for commands in under_way:
            commands.kill()

    def _key(self, run: Run, recipe: Recipe) -> str:
        if run.id not in self._keys:
            self._keys[run.id] = recipe.key(changed_at(recipe.python))
        return self._keys[run.id]

    def _read(self, key: str) -> Environment | None:
        try:
            about = json.loads((self._folder / key / "environment.json").read_text())
        except (FileNotFoundError, ValueError):
            return None
        overlay = str(self._folder / key / "overlay") if about["overlay"] else None
        return Environment(state=EnvironmentState.READY, overlay=overlay)

    def _begin(self, key: str, recipe: Recipe, run: Run) -> Environment:
        self._workers.submit(self._make, key, recipe, run)
        return Environment(state=EnvironmentState.BUILDING, reason=f"makes its environment: {recipe.title}")

    def _make(self, key: str, recipe: Recipe, run: Run) -> None:
        try:
            secrets = self._secrets_of(run)
        except GridError as error:
            self._fail(key, error.message, "")
            return
        commands = Commands(self._log_file(key), secrets.values())
        with self._lock:
            if self._is_closed or self._forgets(key):
                return
            self._commands[key] = commands
        try:
            variables = {**self._environment, **run.spec.shell, **run.spec.environment, **secrets, **_identity(run)}
            bundle = self._blobs.path(recipe.bundle) if recipe.bundle is not None else None
            Build(recipe, bundle, variables, commands).make(self._folder / key)
            made, failure = self._read(key), "it disappeared"
        except (BuildFailed, GridError, OSError) as error:
            made, failure = None, str(error)
        except Exception as error:  # the edge of a thread: the experiments must not wait for ever
            log.exception("cannot build", run=run.name)
            made, failure = None, repr(error)
        with self._lock:
            del self._commands[key]
            is_forgotten = self._forgets(key)
            if made is not None:
                self._known[key] = made
        if made is None and not is_forgotten:
            self._fail(key, commands.masks.hide_text(failure), commands.tail())
        self._changed()

    def _forgets(self, key: str) -> bool:
        """Return whether a build was abandoned, which is then forgotten. Call with the lock held."""
        if key not in self._abandoned:
            return False
        self._abandoned.discard(key)
        self._known.pop(key, None)
        return True

    def _fail(self, key: str, reason: str, log_tail: str) -> None:
        with self._lock:
            self._known[key] = Environment(state=EnvironmentState.FAILED, reason=reason, log_tail=log_tail)
        self._changed()

    def _log_file(self, key: str) -> Path:
        return self._folder / f"{key}.log"


def _identity(run: Run) -> dict[str, str]:
    return {"GRID_USER_ID": run.user, "GRID_CLUSTER_ID": "local", "GRID_INSTANCE_TYPE": run.plan.instance_type}
