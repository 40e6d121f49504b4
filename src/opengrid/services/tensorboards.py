"""TensorBoard itself, one process for each set of experiments that somebody looks at, ended when nobody does any more.

Each shows a folder of links to event files: `<experiment>/[what tells its writers apart]/events.out.tfevents.<number>`.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import re
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from opengrid.core.errors import GridError, NotFound, Unusable
from opengrid.core.names import split_experiment_name
from opengrid.core.records.experiments import Experiment
from opengrid.core.records.scalars import EventFile
from opengrid.services.documents.document import Document
from opengrid.services.event_files import EventFiles
from opengrid.store.database import Database

#: A TensorBoard that nobody has asked for so long is ended.
IDLE_S = 600.0

#: Most TensorBoards at a time: the one that was not asked for longest makes room.
MOST = 8

#: Most experiments in one: more make it slow and its page useless.
MOST_EXPERIMENTS = 500

#: It imports much; and then it must answer.
_START_S, _ANSWER_S = 90.0, 60.0

#: How often new event files are looked for while somebody looks.
_LINKS_S = 2.0

_ID = re.compile(r"[0-9a-f]{16}")

#: How its page asks for its fonts: at the server's root, whatever prefix it was given.
_FONTS = "url(/font-roboto/"

#: Headers that pass through, in either direction; no cookie and no token goes to TensorBoard.
_ASKED = ("accept", "accept-encoding", "content-type", "if-none-match", "if-modified-since")
_ANSWERED = (
    "content-type",
    "content-encoding",
    "content-security-policy",
    "cache-control",
    "expires",
    "etag",
    "location",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorBoardDocument(Document):
    """A TensorBoard that answers."""

    view: str
    path: str  #: of its page


@dataclass(frozen=True, slots=True)
class Reply:
    """What TensorBoard answered."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class _View:
    """A set of experiments, and the process that shows them, if there is one."""

    id: str
    names: list[str]
    starting: threading.Lock = field(default_factory=threading.Lock)
    process: subprocess.Popen[bytes] | None = None
    asked_at: float = 0.0
    linked_at: float = 0.0


class TensorBoards:
    """All TensorBoards of this server."""

    def __init__(self, database: Database, files: EventFiles, root: Path, *, idle_s: float = IDLE_S) -> None:
        self._database, self._files, self._root, self._idle_s = database, files, root, idle_s
        self._views: dict[str, _View] = {}
        self._lock = threading.Lock()
        self._sockets: Path | None = None  #: a short path: the name of a socket has at most 107 bytes

    def open(self, names: Sequence[str]) -> TensorBoardDocument:
        """Start a TensorBoard for runs and experiments, or find it; return when it answers."""
        experiments = self._experiments(names)
        if len(experiments) > MOST_EXPERIMENTS:
            raise Unusable(
                f"{len(experiments)} experiments are too many for one TensorBoard",
                hint=f"at most {MOST_EXPERIMENTS}: name the experiments to compare",
            )
        id = hashlib.sha256("\0".join(sorted(set(names))).encode()).hexdigest()[:16]
        with self._lock:
            view = self._views.setdefault(id, _View(id, sorted(set(names))))
        self._folder(id).mkdir(parents=True, exist_ok=True)
        (self._root / f"{id}.json").write_text(json.dumps(view.names))
        self._ensure(view)
        return TensorBoardDocument(view=id, path=f"{prefix(id)}/")

    def ask(self, id: str, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Pass a request on; NotFound for a view that nobody has opened. One that was ended is started again."""
        view = self._find(id)
        place = self._ensure(view)
        connection = _UnixConnection(place)
        try:
            passed = {name: headers[name] for name in _ASKED if name in headers}
            connection.request(method, target, body=body or None, headers={"Host": "tensorboard", **passed})
            response = connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise GridError(f"TensorBoard does not answer: {error}", hint="load the page again") from error
        finally:
            connection.close()
        given = {name: value for name, value in response.getheaders() if name.lower() in _ANSWERED}
        if response.headers.get_content_type() == "text/html":
            content = content.replace(_FONTS.encode(), _FONTS.replace("/", f"{prefix(id)}/", 1).encode())
        return Reply(response.status, given, content)

    def end_idle(self) -> None:
        """End those that nobody asks any more."""
        for view in list(self._views.values()):
            if view.process is not None and time.monotonic() - view.asked_at > self._idle_s:
                _end(view)

    def close(self) -> None:
        """End all."""
        for view in list(self._views.values()):
            _end(view)
        if self._sockets is not None:
            shutil.rmtree(self._sockets, ignore_errors=True)

    def _find(self, id: str) -> _View:
        with self._lock:
            view = self._views.get(id)
            if view is None and _ID.fullmatch(id):
                with contextlib.suppress(OSError, ValueError):
                    names = json.loads((self._root / f"{id}.json").read_text())
                    view = self._views.setdefault(id, _View(id, names))
        if view is None:
            raise NotFound(f"there is no TensorBoard {id!r}", hint="`grid tensorboard NAME...` opens one")
        return view

    def _ensure(self, view: _View) -> Path:
        """Have the view's process run and its links be those of now; return its socket."""
        with view.starting:
            view.asked_at = time.monotonic()
            is_running = view.process is not None and view.process.poll() is None
            if not is_running or view.asked_at - view.linked_at > _LINKS_S:
                self._link(view)
            if not is_running:
                self._make_room(view)
                view.process = self._start(view)
        return self._socket(view)

    def _make_room(self, newest: _View) -> None:
        running = [view for view in list(self._views.values()) if view.process is not None and view is not newest]
        for view in sorted(running, key=lambda view: view.asked_at)[: max(0, len(running) - MOST + 1)]:
            _end(view)

    def _start(self, view: _View) -> subprocess.Popen[bytes]:
        self._socket(view).unlink(missing_ok=True)
        log = self._root / f"{view.id}.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "opengrid.services.tensorboard_process"),
                    *(str(self._folder(view.id)), str(self._socket(view)), prefix(view.id)),
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "TMPDIR")},
                start_new_session=True,
            )
        if not _says_ready(process):
            process.kill()
            process.wait()
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise GridError(f"TensorBoard did not start: {last[0] if last else 'it said nothing'}", hint=f"see {log}")
        return process

    def _link(self, view: _View) -> None:
        """Make the view's folder what it shall show: links, of which those that are there stay."""
        view.linked_at = time.monotonic()
        experiments: list[Experiment] = []
        for name in view.names:
            with contextlib.suppress(NotFound):  # deleted meanwhile
                experiments += self._experiments([name])
        with self._database.read() as tx:
            files = tx.scalars.files_of([experiment.id for experiment in experiments])
        names = {experiment.id: experiment.name for experiment in experiments}
        folder = self._folder(view.id)
        wanted = {folder / names[file.experiment_id] / _place(file): file for file in files}
        for there in [path for path in folder.rglob("*") if path.is_symlink() and path not in wanted]:
            there.unlink(missing_ok=True)
        for link, file in wanted.items():
            if not link.is_symlink():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(self._files.place(file.experiment_id, file.number))

    def _experiments(self, names: Sequence[str]) -> list[Experiment]:
        found: dict[str, Experiment] = {}
        with self._database.read() as tx:
            for name in names:
                if split_experiment_name(name) is not None:
                    experiments = [tx.runs.experiment(name)]
                else:
                    experiments = tx.runs.experiments(tx.runs.find(name).id, limit=MOST_EXPERIMENTS + 1)
                found.update({experiment.id: experiment for experiment in experiments})
        return list(found.values())

    def _folder(self, id: str) -> Path:
        return self._root / id

    def _socket(self, view: _View) -> Path:
        if self._sockets is None:
            self._sockets = Path(tempfile.mkdtemp(prefix="grid-tb-"))
        return self._sockets / view.id


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, place: Path) -> None:
        super().__init__("tensorboard", timeout=_ANSWER_S)
        self._place = place

    def connect(self) -> None:
        """Connect."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._place))


def prefix(id: str) -> str:
    """Return the path below which a view's TensorBoard answers."""
    return f"/tensorboard/{id}"


def _place(file: EventFile) -> Path:
    """Return where a view has the link to a file: one folder for all that is one series to us."""
    parts = [part[:100] for part in file.label.replace("\n", " ").split("/") if part not in ("", ".", "..")]
    return Path(*parts, f"events.out.tfevents.{file.number:010}")


def _says_ready(process: subprocess.Popen[bytes]) -> bool:
    assert process.stdout is not None  # noqa: S101 - it was asked for
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        return bool(selector.select(_START_S)) and process.stdout.readline() == b"ready\n"


def _end(view: _View) -> None:
    with view.starting:
        process, view.process = view.process, None
        if process is not None:
            process.kill()
            process.communicate()
