"""Clusters made of hosts: added and started in the background, while somebody looks on; half-made ones are undone."""

from __future__ import annotations

import dataclasses
import json
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path

import structlog

from opengrid.core.codec import from_json, to_json
from opengrid.core.errors import Conflict, GridError, InvalidValue, NotFound, Unusable
from opengrid.core.records.clusters import LOCAL_CLUSTER, Cluster
from opengrid.services.callers import Caller
from opengrid.services.cluster_requests import NewCluster
from opengrid.services.clusters import Clusters
from opengrid.services.documents.clusters import ClusterStartDocument, StartLine
from opengrid.services.documents.errors import error_text
from opengrid.services.hosts import HostClusters, new_hosts, problems_text
from opengrid.store.database import Database

log = structlog.get_logger(__name__)


class Progress:
    """How far the start of a cluster's hosts is. Written by one thread, read by others."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []  #: (host, text), oldest first
        self.error: GridError | None = None
        self.is_over = False

    def tell(self, host: str, text: str) -> None:
        """Add a line."""
        self.lines.append((host, text))


class ClusterStarts:
    """Use cases around the hosts of clusters: one thread for each cluster that is started.

    What is being added is written down before anything is started; a server that finds such a note undoes the rest.
    """

    def __init__(
        self,
        database: Database,
        clusters: Clusters,
        hosts: HostClusters,
        *,
        notes: Path,
        line: Callable[[], str | None],
        check_host: Callable[[str], object],
        check_python: Callable[[str], object],
    ) -> None:
        """`line` returns what to type when this server serves its own computer only."""
        self._database, self._clusters, self._hosts = database, clusters, hosts
        self._notes, self._line = notes, line
        self._check_host, self._check_python = check_host, check_python
        self._all: dict[str, Progress] = {}
        self._lock = threading.Lock()

    def open(self) -> None:
        """Undo, in the background, what a server that was killed had begun to add."""
        for note in self._notes.glob("*.adding"):
            cluster = from_json(Cluster, json.loads(note.read_text()))
            with self._database.read() as tx:
                known = tx.clusters.look(cluster.name)
            if known is not None and known.hosts and cluster.hosts and known.hosts.id == cluster.hosts.id:
                note.unlink(missing_ok=True)  # it was added, whole
                continue

            def undo(progress: Progress, cluster: Cluster = cluster) -> None:
                log.warning("a cluster was half added when the server ended; undoing that", cluster=cluster.name)
                left = self._undo(cluster)
                hint = f"add it again; {left}" if left else "add it again"
                raise GridError(f"the server ended while {cluster.name} was added", hint=hint)

            self._begin(cluster.name, undo)

    def add(self, new: NewCluster, caller: Caller) -> None:
        """Begin to make a cluster of hosts."""
        caller.check_admin("adding clusters")
        line = self._line()
        if line is not None:
            raise Unusable("other hosts could not reach this server: it serves this computer only", hint=line)
        for host in new.hosts:
            self._check_host(host)
        if len(set(new.hosts)) < len(new.hosts):
            raise InvalidValue("a host is named twice", field="hosts")
        if new.python is not None:
            self._check_python(new.python)
        for package in new.install:
            if not package or package.startswith("-") or not package.isprintable():
                raise InvalidValue(f"{package!r} is no package", hint="torch,lightning==2.6", field="install")
        cluster = dataclasses.replace(
            self._clusters.checked(new, caller.name),
            python=None,  # each host's own, once it has been chosen
            hosts=new_hosts(new.hosts, python=new.python, install=new.install),
        )
        with self._database.read() as tx:
            if tx.clusters.look(new.name) is not None:
                raise Conflict(f"there is already a cluster {new.name}", hint="choose another name")
        token = secrets.token_hex(24)

        def work(progress: Progress) -> None:
            prepared = self._hosts.prepare(cluster, progress.tell)
            self._write(cluster)
            try:
                started = self._hosts.launch(cluster, prepared, token, progress.tell)
                self._clusters.take_in(started, token)
            except GridError as error:
                left = self._undo(cluster)
                hint = f"{error.hint or 'see above'}; {left}" if left else error.hint
                raise type(error)(f"nothing was added: {error.message}", hint=hint) from error
            self._note(cluster.name).unlink(missing_ok=True)

        self._begin(new.name, work)

    def start(self, name: str, caller: Caller) -> None:
        """Begin to start Ray on those hosts of a cluster where it does not run any more."""
        caller.check_admin("starting clusters")
        if name == LOCAL_CLUSTER:
            raise Conflict(f"{LOCAL_CLUSTER} is this computer, which runs", hint="`grid clusters` lists the others")
        with self._database.read() as tx:
            cluster = tx.clusters.find(name)
        if cluster.hosts is None:
            raise Conflict(
                f"{name} was there before it was added: this server has started nothing of it",
                hint="start it as you did before",
            )
        token = self._clusters.token(name) or ""

        def work(progress: Progress) -> None:
            prepared = self._hosts.prepare(cluster, progress.tell)
            self._clusters.take_back(self._hosts.launch(cluster, prepared, token, progress.tell))

        self._begin(name, work)

    def progress(self, name: str, after: int) -> ClusterStartDocument:
        """Return what a start has told since its line number `after`, and how it ended; NotFound when there is none."""
        found = self._all.get(name)
        if found is None:
            raise NotFound(
                f"no hosts of a cluster {name!r} are being started", hint="`grid clusters` lists all clusters"
            )
        is_over = found.is_over  # before the lines: none comes later
        return ClusterStartDocument(
            cluster=name,
            lines=[StartLine(host=host, text=text) for host, text in found.lines[after:]],
            is_over=is_over,
            error=error_text(found.error) if is_over and found.error is not None else None,
        )

    def check_idle(self, name: str) -> None:
        """Raise Conflict while the hosts of a cluster are being started."""
        known = self._all.get(name)
        if known is not None and not known.is_over:
            raise Conflict(f"the hosts of {name} are being started", hint="wait until that is done")

    def _begin(self, name: str, work: Callable[[Progress], None]) -> None:
        progress = Progress()
        with self._lock:
            self.check_idle(name)
            self._all[name] = progress
        threading.Thread(target=_run, args=(name, work, progress), name=f"hosts-{name}", daemon=True).start()

    def _undo(self, cluster: Cluster) -> str | None:
        """End what was started; return what could not be ended, in words."""
        left = [host for host in self._hosts.stop(cluster) if host.problem]
        self._note(cluster.name).unlink(missing_ok=True)
        if not left:
            return None
        return f"Ray may still run where it could not be ended: {problems_text(left)}"

    def _write(self, cluster: Cluster) -> None:
        self._notes.mkdir(mode=0o700, exist_ok=True)
        partial = self._note(cluster.name).with_suffix(".new")
        partial.write_text(json.dumps(to_json(cluster)))
        os.replace(partial, self._note(cluster.name))

    def _note(self, name: str) -> Path:
        return self._notes / f"{name}.adding"


def _run(name: str, work: Callable[[Progress], None], progress: Progress) -> None:
    try:
        work(progress)
    except GridError as error:
        progress.error = error
    except Exception as error:  # the thread's edge: whoever waits must hear of it
        log.exception("hosts could not be started", cluster=name)
        progress.error = GridError(f"the server failed: {type(error).__name__}: {error}")
    finally:
        progress.is_over = True
