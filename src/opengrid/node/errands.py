"""What takes long in a generation: making ready, putting back, the last actions. In threads that end with news."""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path

from opengrid.core.disks import DiskGuard
from opengrid.core.errors import GridError
from opengrid.core.protocol import Assignment, Waits
from opengrid.node.actions import NodeActions
from opengrid.node.artifacts import Collector
from opengrid.node.cache import DataCache
from opengrid.node.inbox import ActionsEnded, Inbox, PutBackDone
from opengrid.node.link import Channel
from opengrid.node.packages import PackageMaker
from opengrid.node.preload.client import TemplateSpec
from opengrid.node.preload.connection import Launcher
from opengrid.node.readying import Failed, Ready, make_ready
from opengrid.node.restoring import put_back
from opengrid.node.workspace import node_folders


class Errands:
    """One machine's slow work. The agent, which waits for the news of each, has one done at a time."""

    def __init__(
        self,
        assignment: Assignment,
        channel: Channel,
        *,
        scratch: Path,
        actions: NodeActions,
        artifacts: Collector,
        template: Callable[[Assignment], TemplateSpec],
        inbox: Inbox,
        log: Callable[[str], None],
    ) -> None:
        self._assignment, self._channel, self._scratch = assignment, channel, scratch
        self._actions, self._artifacts, self._template = actions, artifacts, template
        self._inbox, self._log = inbox, log
        self._packages = PackageMaker(assignment, os.environ)
        self._data = (
            DataCache(Path(assignment.data_cache), assignment.data_cache_bytes, disks=DiskGuard(assignment.least_free))
            if assignment.data_cache
            else None
        )

    def prepare(self, generation: int, launcher: Launcher | None) -> None:
        """Make ready what a generation's ranks need; ends with Ready or Failed."""
        _begin("prepare", lambda: self._inbox.put(self._prepared(generation, launcher)))

    def put_back(self, generation: int) -> None:
        """Put back what a generation goes on from; ends with PutBackDone or Failed."""
        _begin("put back", lambda: self._inbox.put(self._put_back(generation)))

    def end(self, generation: int) -> None:
        """Carry out the user's actions after the last ranks; ends with ActionsEnded."""
        _begin("actions", lambda: self._inbox.put(self._ended(generation)))

    def cancel(self) -> None:
        """Stop what is being made of packages and the user's actions: nobody waits for it any more."""
        self._packages.cancel()
        self._actions.cancel()

    def _prepared(self, generation: int, launcher: Launcher | None) -> Ready | Failed:
        ready = make_ready(
            generation,
            self._assignment,
            launcher,
            template=self._template,
            channel=self._channel,
            data=self._data,
            scratch=self._scratch,
            packages=self._packages,
            actions=self._actions,
            waits=lambda reason: self._inbox.put(Waits(generation=generation, reason=reason)),
        )
        if isinstance(ready, Failed):
            return ready
        failure = self._begin_actions(generation) or self._begin_collecting(ready)
        if failure is None:
            return ready
        ready.launcher.close()
        return Failed(generation, failure)

    def _begin_actions(self, generation: int) -> str | None:
        """Carry out the user's actions before the first ranks; return what failed."""
        try:
            return self._actions.begin(generation)
        except OSError as error:
            return f"actions: {error.filename or 'bash'}: {error.strerror or error}"

    def _begin_collecting(self, ready: Ready) -> str | None:
        """Watch for artifacts, and collect those of an earlier generation; return what failed."""
        if not self._assignment.collects:
            return None
        try:
            if ready.before is not None and self._assignment.salvage is not None:
                lost = dataclasses.replace(self._assignment, work_dir=self._assignment.salvage)
                self._artifacts.salvage(node_folders(lost), before=ready.before)
            self._artifacts.watch(node_folders(self._assignment), before=ready.before)
            if ready.generation > 1:
                self._artifacts.collect_all()  # the next ranks go on from what the last ones left
        except OSError as error:
            return f"cannot watch for artifacts: {error}"
        return None

    def _put_back(self, generation: int) -> PutBackDone | Failed:
        try:
            restore, notes = put_back(
                self._assignment,
                generation,
                self._channel,
                digest_of=self._artifacts.digest_of,
                before=self._artifacts.before,
            )
        except GridError as error:
            what = error.message
        except OSError as error:
            what = f"{error.filename or 'the disk'}: {error.strerror or error}"
        else:
            return PutBackDone(generation, restore, notes)
        return Failed(generation, f"cannot put the checkpoint back: {what}")

    def _ended(self, generation: int) -> ActionsEnded:
        try:
            self._actions.end(generation)
        except OSError as error:
            self._log(f"actions at the end: {error}")
        return ActionsEnded()


def _begin(name: str, work: Callable[[], None]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()
