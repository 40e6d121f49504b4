"""What takes time before ranks can start, beside the agent's loop: work folders, a launcher from the template."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from opengrid.client.http import Http
from opengrid.core.disks import DiskGuard
from opengrid.core.errors import GridError, ServerUnreachable, Unusable
from opengrid.core.interpreters import site_packages
from opengrid.core.protocol import Assignment
from opengrid.core.spec import ProgramKind
from opengrid.node import spawn
from opengrid.node.actions import NodeActions
from opengrid.node.cache import DataCache
from opengrid.node.data import fetch_data
from opengrid.node.generation import places, reason_for_processes, start_directory
from opengrid.node.link import Channel
from opengrid.node.packages import PackageMaker, found
from opengrid.node.preload.client import TemplateSpec, connect_launcher
from opengrid.node.preload.connection import Launcher, PreloadFailed
from opengrid.node.workspace import files_of_bundle, find_bundle, make_folders

#: How often a full disk is looked at.
_LOOK_S = 1.0


@dataclass(frozen=True, slots=True)
class Ready:
    """Folders are there, and a launcher."""

    generation: int
    launcher: Launcher
    launch: str  #: fork | exec
    reason: str
    before: frozenset[str] | None  #: files of the user's tree, when the folders were not made now; None: all there is
    packages: tuple[str, ...]  #: what ranks find, where the server does not know it


@dataclass(frozen=True, slots=True)
class Failed:
    """A generation cannot be prepared."""

    generation: int
    message: str
    is_retryable: bool = False  #: a process of ours died meanwhile, or where contents rest does not answer


def make_ready(
    generation: int,
    assignment: Assignment,
    launcher: Launcher | None,
    *,
    template: Callable[[Assignment], TemplateSpec],
    channel: Channel,
    data: DataCache | None,
    scratch: Path,
    packages: PackageMaker,
    actions: NodeActions,
    waits: Callable[[str], None],
) -> Ready | Failed:
    """Make what is missing; `launcher` is the one from an earlier generation, if it lives. Blocks; never raises.

    `waits` hears why it does not begin yet.
    """
    try:
        scratch.mkdir(parents=True, exist_ok=True)

        def fetch(digest: str, into: Path) -> None:
            _fetch(channel, digest, into)

        _wait_for_room(assignment, data, waits)
        fetch_data(assignment, data, channel)
        made = packages.make(lambda: find_bundle(assignment, fetch, scratch), partial(actions.build, generation))
        # An agent that comes after another finds what that one's ranks wrote: it is not of the user's tree.
        is_made = make_folders(assignment, fetch, scratch)
        finds_more = launcher is None and (not is_made or assignment.salvage is not None)
        before = files_of_bundle(find_bundle(assignment, fetch, scratch)) if finds_more else None
        for place in places(assignment):
            _check_directory(start_directory(assignment, place.node), assignment.directory)
        _check_overlay(assignment)
        how = "template warm"
        if launcher is None:
            launcher, how = _connect(template(assignment))
        _check_imports(assignment, launcher)
    except GridError as error:
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        return Failed(generation, message, is_retryable=isinstance(error, (PreloadFailed, ServerUnreachable)))
    except OSError as error:
        return Failed(generation, f"{error.filename or 'the agent'}: {error.strerror or error}")
    reason = reason_for_processes(assignment)
    if reason:
        how = f"{reason}: ranks are started as ordinary processes"
    how = f"{made}; {how}" if made else how
    is_elsewhere = assignment.bundle_path is None
    packages_found = found(assignment) if is_elsewhere and assignment.machine == 0 else ()
    return Ready(generation, launcher, "exec" if reason else "fork", how, before, packages_found)


def _wait_for_room(assignment: Assignment, data: DataCache | None, waits: Callable[[str], None]) -> None:
    """Begin nothing new on a full disk, as the server does not on its own; data that nobody uses goes first."""
    work, disks, told = Path(assignment.work_dir), DiskGuard(assignment.least_free), None
    while not work.exists() and (reason := disks.waits(work)) is not None:
        if data is not None and data.make_room():
            continue
        if reason != told:
            waits(reason)
            told = reason
        time.sleep(_LOOK_S)


def template_spec(assignment: Assignment, program: str, directory: str | None, idle_s: float) -> TemplateSpec:
    """Return which template the ranks come from; one with nothing preloaded for what is no Python or needs no torch."""
    is_torch = assignment.framework.is_torch and assignment.program.kind is not ProgramKind.EXECUTABLE
    python = assignment.python or sys.executable
    spec = TemplateSpec(
        python=python,
        program=program,
        preload=assignment.preload if is_torch else (),
        # By where they usually lie: asking the interpreter costs more than it is worth.
        site_packages=tuple(map(str, site_packages(python))) if is_torch else (),
        idle_s=idle_s,
    )
    return spec if directory is None else dataclasses.replace(spec, directory=directory)


def _connect(spec: TemplateSpec) -> tuple[Launcher, str]:
    asked_at = time.clock_gettime(time.CLOCK_BOOTTIME)
    launcher = connect_launcher(spec)
    took_s = time.clock_gettime(time.CLOCK_BOOTTIME) - asked_at
    template = spawn.process(launcher.ready.template)
    ticks = os.sysconf("SC_CLK_TCK")
    is_new = template is not None and (template.start_time + 1) / ticks >= asked_at
    return launcher, f"template made in {took_s:.1f} s" if is_new else "template warm"


def _check_imports(assignment: Assignment, launcher: Launcher) -> None:
    why = launcher.ready.missing.get("torch")
    if why is not None:
        raise Unusable(
            f"{assignment.python} cannot import torch: {why}", hint="install torch there, or choose another --python"
        )


def _check_overlay(assignment: Assignment) -> None:
    if assignment.overlay is not None and not Path(assignment.overlay).is_dir():
        raise Unusable(
            f"the packages of the run lie in {assignment.overlay}, which this machine does not see",
            hint="set the server's GRID_STATE to a folder that all machines share, or install them there",
        )


def _check_directory(directory: Path, name: str) -> None:
    if not directory.is_dir():
        raise Unusable(
            f"the folder {name!r} in which the program starts is not in the bundle", hint="is it ignored by git?"
        )


def _fetch(channel: Channel, digest: str, into: Path) -> None:
    """Bring a blob over HTTP, from the start again when the connection breaks; waits while the server is away."""

    def download(http: Http) -> None:
        with into.open("wb") as file, http.stream("GET", f"/agent/v1/blobs/{digest}", timeout_s=60) as blocks:
            for block in blocks:
                file.write(block)

    channel.call_until_answered(download, timeout_s=float("inf"))
