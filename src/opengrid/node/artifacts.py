"""Collects artifacts: finds new files of the work folders, and has them brought to the server.

A thread of low priority looks every two seconds, and less often where a look takes long. It hashes what has settled,
and hands that to the delivery. Nothing here can harm the ranks; what goes wrong is tried again
and, if it is so in the end, named.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from opengrid.core import checkpoint_file
from opengrid.core.errors import ServerUnreachable, Superseded
from opengrid.core.protocol import MOST_ARTIFACTS, ArtifactFile, Unsaved, UnsavedFile
from opengrid.node.closings import Closings
from opengrid.node.contents import NotNow, check_whole, digest_as_scanned, version_of
from opengrid.node.delivery import Delivery, Item
from opengrid.node.event_files import is_event_file
from opengrid.node.link import Channel
from opengrid.node.scan import names, scan
from opengrid.node.settling import SETTLE_S, Settling, Version

#: Looks take at most this part of one processor's time, unless that would make them rarer than this.
_SHARE, _LONGEST_S = 0.005, 60.0

#: Files that are offered together: so many, of so many bytes.
_BATCH_FILES, _BATCH_BYTES = MOST_ARTIFACTS, 64 << 20

#: A file that was just closed is looked at once more after this long.
_RENAME_S = 0.2

#: In the end, what cannot be saved is tried this often, with such pauses.
_LAST_TRIES, _LAST_PAUSE_S = 3, 0.5

#: So many of the files that could not be saved are told by name.
_NAMED = 20


@dataclass(frozen=True, slots=True)
class _Folder:
    node: int
    root: Path
    before: frozenset[str]
    settling: Settling
    closed: set[str]  #: what was closed by its writer and not collected since


class Collector:
    """One thread that collects from all work folders of this machine.

    After drain() it collects everything that is left, then calls `on_drained` with what it could not save, if anything.
    It calls `on_superseded` when the server refuses us for good, and `on_event_file` once for each file that scripts
    write for TensorBoard, as soon as it is there: with its node, where it lies, and its path as it is told.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        staging: str | None,
        has_links: bool = False,
        on_drained: Callable[[Unsaved | None], None],
        on_superseded: Callable[[str], None],
        log: Callable[[str], None],
        settle_s: float = SETTLE_S,
        on_event_file: Callable[[int, Path, str], None] = lambda node, place, path: None,
    ) -> None:
        self._channel, self._log, self._settle_s = channel, log, settle_s
        self._on_drained, self._on_superseded = on_drained, on_superseded
        self._on_event_file, self._event_files = on_event_file, set[Path]()
        self._is_salvaging = False
        self._delivery = Delivery(channel, staging=staging, has_links=has_links)
        self._folders: list[_Folder] = []
        self._locks: list[int] = []  # held until the process ends
        self._unreadable: dict[str, str] = {}
        self._scans_s = 0.0  #: processor time of the last look at all folders
        self._wake = threading.Event()
        self._draining = False
        self._asked = False  #: for all that there is now
        self._is_done = threading.Event()
        self._digests: dict[Path, tuple[Version, str]] = {}  #: of what was collected
        self._coming: dict[Path, tuple[Version, str]] = {}  #: of what another machine brings
        self._closings, self._listened = Closings(), set[Path]()
        self._stopped = threading.Event()

    @property
    def roots(self) -> list[Path]:
        """The folders that are collected from here, and on no other machine that shares them."""
        return [folder.root for folder in self._folders]

    def start(self) -> None:
        """Start the thread."""
        threading.Thread(target=self._run, name="artifacts", daemon=True).start()

    def watch(self, folders: dict[int, Path], *, before: frozenset[str] | None) -> None:
        """Collect what is not `before` in nodes' folders. A folder of several nodes counts as the first one's.

        `before` None: what is there now. Of machines that share a folder, only the first to come collects from it.
        """
        known = {folder.root for folder in self._folders}
        added: list[_Folder] = []
        for node, root in sorted(folders.items()):
            if root in known or not self._lock(root):
                continue
            known.add(root)
            known_before = names(root) if before is None else before
            added.append(_Folder(node, root, known_before, Settling(known_before, self._settle_s), set()))
        self._folders = [*self._folders, *added]
        self._wake.set()

    def collect_all(self) -> None:
        """Collect all that there is, as complete as it is; return when it is done. Nothing may be written meanwhile."""
        self._is_done.clear()
        self._asked = True
        self._wake.set()
        self._is_done.wait()

    def salvage(self, folders: dict[int, Path], *, before: frozenset[str]) -> None:
        """Collect what an attempt that was lost has left in its folders, as far as they are on this machine."""
        there = {node: folder for node, folder in folders.items() if folder.is_dir()}
        kept = self._folders
        self._folders, self._is_salvaging = [], True  # event files were shipped while they were written
        self.watch(there, before=before)
        self.collect_all()
        self._folders, self._is_salvaging = kept, False

    def digest_of(self, path: Path) -> str | None:
        """Return the SHA-256 of a file as it is now, if it was collected like that."""
        known = self._digests.get(path)
        return known[1] if known is not None and known[0] == version_of(path) else None

    def before(self, root: Path) -> frozenset[str] | None:
        """Return what is not collected from a folder, as it was there before; None when nothing is collected there."""
        return next((folder.before for folder in self._folders if folder.root == root), None)

    def drain(self) -> None:
        """Collect all that is left, then call on_drained. Nothing may be written any more."""
        self._draining = True
        self._wake.set()

    def stop(self) -> None:
        """Have the thread end."""
        self._stopped.set()
        self._wake.set()

    def _lock(self, root: Path) -> bool:
        descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                os.close(descriptor)
                return False
        self._locks.append(descriptor)
        return True

    def _run(self) -> None:
        # Ranks come first: on Linux a thread has a priority of its own.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 15)
        try:
            self._look_until_told()
        finally:
            self._is_done.set()

    def _look_until_told(self) -> None:
        tries = 0
        while not self._stopped.is_set():
            self._wake.clear()
            draining, asked = self._draining, self._asked  # before looking: what is told to be the end must be seen
            try:
                self._collect(final=draining or asked)
            except Superseded as error:
                self._on_superseded(error.message)
                return
            except ServerUnreachable as error:
                if self._channel.away_since is not None and time.monotonic() - self._channel.away_since < 1:
                    self._log(f"artifacts: {error.message}; trying again")  # once per absence, or a little more
                self._channel.pause(self._stopped)
                continue
            if (asked or draining) and self._coming:
                self._stopped.wait(_LAST_PAUSE_S)
                continue
            if asked:
                self._asked = False
                self._is_done.set()
            if draining:
                unsaved, tries = self._unsaved(), tries + 1
                if unsaved is None or tries >= _LAST_TRIES:
                    self._delivery.close()
                    self._on_drained(unsaved)
                    return
                self._stopped.wait(_LAST_PAUSE_S)
                continue
            self._wake.wait(self._interval_s())

    def _interval_s(self) -> float | None:
        """Return how long to wait before the next look; None when there is nothing to look at."""
        return max(self._settle_s, min(_LONGEST_S, self._scans_s / _SHARE)) if self._folders else None

    def _collect(self, *, final: bool) -> None:
        self._unreadable, self._scans_s = {}, 0.0
        before, self._coming = self._coming, {}
        self._hear_closings()
        due = [found for folder in list(self._folders) for found in self._due(folder, final=final)]
        batch: dict[Item, _Folder] = {}
        size = 0
        for folder, path, version in sorted(due, key=lambda one: one[2].size):  # nothing waits for a larger one
            if self._stopped.is_set() or ((self._draining or self._asked) and not final):
                return
            if batch and (len(batch) >= _BATCH_FILES or size + version.size > _BATCH_BYTES):
                self._save(batch)
                batch, size = {}, 0
            item = self._read(folder, path, version, before, final=final)
            if item is not None:
                batch[item] = folder
                size += version.size
        if batch:
            self._save(batch)

    def _due(self, folder: _Folder, *, final: bool) -> list[tuple[_Folder, str, Version]]:
        """Look at a folder; return what is to be saved of it now."""
        began = time.thread_time()
        found = scan(folder.root, folder.before)
        self._scans_s += time.thread_time() - began
        self._unreadable |= found.unreadable
        if not self._is_salvaging:
            self._tell_event_files(folder, found.files)
        folder.closed.intersection_update(found.files)  # a temporary name that is gone says nothing of the next one
        due = folder.settling.due(found.files, time.monotonic(), closed=folder.closed, final=final)
        hasty = folder.closed.intersection(due) if not final else set[str]()
        folder.closed.difference_update(due)
        if hasty:  # a temporary name is closed too, and renamed right after that
            self._stopped.wait(_RENAME_S)
            due = [p for p in due if p not in hasty or version_of(folder.root / p) == found.files[p]]
        return [(folder, path, found.files[path]) for path in due]

    def _tell_event_files(self, folder: _Folder, paths: Iterable[str]) -> None:
        for path in paths:
            place = folder.root / path
            if is_event_file(path) and path not in folder.before and place not in self._event_files:
                self._event_files.add(place)
                self._on_event_file(folder.node, place, _told(path))

    def _hear_closings(self) -> None:
        for root in [folder.root for folder in self._folders if folder.root not in self._listened]:
            self._listened.add(root)
            self._closings.watch(root)
        for path in self._closings.drain():
            for folder in self._folders:
                if path.startswith(f"{folder.root}/"):
                    folder.closed.add(path[len(str(folder.root)) + 1 :])

    def _read(
        self,
        folder: _Folder,
        path: str,
        version: Version,
        before: dict[Path, tuple[Version, str]],
        *,
        final: bool,
    ) -> Item | None:
        known = before.get(folder.root / path)
        try:
            if checkpoint_file.is_candidate(path):
                check_whole(folder.root / path, thorough=self._is_salvaging)
            if known is not None and known[0] == version:
                digest = known[1]
            else:
                digest = digest_as_scanned(folder.root, path, version)
        except FileNotFoundError:
            if final:
                folder.settling.fail(path, "it vanished", time.monotonic())
            return None  # while ranks run, files come and go: a temporary name, an older checkpoint
        except OSError as error:
            folder.settling.fail(path, error.strerror or str(error), time.monotonic())
            return None
        except NotNow as reason:
            folder.settling.fail(path, str(reason), time.monotonic())
            return None
        offer = ArtifactFile(
            node=folder.node,
            path=_told(path),
            size=version.size,
            sha256=digest,
            modified_us=version.modified_ns // 1000,
        )
        return Item(folder.root, path, version, offer)

    def _save(self, batch: dict[Item, _Folder]) -> None:
        """Bring files to the server and remember which are safe; ServerUnreachable, nothing lost, while it is away."""
        delivered = self._delivery.bring(list(batch))
        for item, reason in delivered.failed:
            batch[item].settling.fail(item.path, reason, time.monotonic())
        for item in delivered.coming:
            self._coming[item.root / item.path] = item.version, item.offer.sha256
        for item in delivered.safe:
            batch[item].settling.save(item.path, item.version)
            self._digests[item.root / item.path] = item.version, item.offer.sha256

    def _unsaved(self) -> Unsaved | None:
        troubles = [
            UnsavedFile(path=_told(path), reason=reason)
            for folder in self._folders
            for path, reason in sorted(folder.settling.troubles.items())
        ]
        troubles += [UnsavedFile(path=_told(path), reason=reason) for path, reason in self._unreadable.items()]
        return Unsaved(files=tuple(troubles[:_NAMED]), total=len(troubles)) if troubles else None


def _told(path: str) -> str:
    """Return a path as text, whatever bytes its names are made of."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
