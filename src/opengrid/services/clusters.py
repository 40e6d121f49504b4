"""Clusters: added, listed, shown, removed; and which one a user's runs go to."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, runtime_checkable

import structlog

from opengrid.core.codec import from_json
from opengrid.core.errors import Conflict, GridError, InvalidValue, Unusable
from opengrid.core.records.clusters import LOCAL_CLUSTER, Cluster
from opengrid.engines.engine import Engine, EngineAway, Engines
from opengrid.planning.catalogue import Catalogue
from opengrid.planning.fleet import Fleet
from opengrid.planning.inventory import Inventory
from opengrid.planning.node_logs import NodeLog, merged
from opengrid.planning.sentences import cluster_label
from opengrid.services.callers import Caller
from opengrid.services.cluster_requests import ClusterChanges, NewCluster, checked_cluster
from opengrid.services.documents.clusters import (
    CheckedMachine,
    ClusterDocument,
    ClusterHost,
    ClusterLogLine,
    ClusterLogsDocument,
    ClusterMachine,
    ClusterRow,
    PossibleMachines,
)
from opengrid.services.documents.new_run import ClusterChoice
from opengrid.services.hosts import HostClusters, problems_text
from opengrid.services.views import at_text
from opengrid.store.database import Database, Transaction

log = structlog.get_logger(__name__)

#: Of each file of an engine's logs, at most so many lines are looked at.
_MOST_LINES = 5000


@runtime_checkable
class Checkable(Protocol):
    """An engine whose machines can be asked about themselves."""

    def check(self) -> list[dict[str, object]]:
        """Return a row for each machine."""
        ...


@runtime_checkable
class Logged(Protocol):
    """An engine that shows what it wrote itself on its machines."""

    def logs(self, limit: int) -> list[NodeLog]:
        """Return the last lines of each file."""
        ...


class Clusters:
    """Use cases around clusters. `changed` wakes the controller."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        catalogue: Catalogue,
        *,
        make: Callable[[Cluster, str | None], Engine],
        greet: Callable[[str, str | None], str],
        unreachable: Callable[[str], str | None],
        hosts: HostClusters,
        tokens: Path,
        changed: Callable[[], None],
        now_us: Callable[[], int],
    ) -> None:
        """`make` gives a cluster's engine; `greet` asks an address for the engine's version, or raises.

        `unreachable` returns the line to type when machines near an address could not call this server.
        """
        self._database, self._engines, self._catalogue = database, engines, catalogue
        self._make, self._greet, self._unreachable = make, greet, unreachable
        self._hosts, self._tokens, self._changed, self._now_us = hosts, tokens, changed, now_us

    def open(self) -> None:
        """Take in the engines of all clusters that are known."""
        with self._database.read() as tx:
            known = tx.clusters.list()
        for cluster in known:
            self._engines.add(cluster.name, self._make(cluster, self.token(cluster.name)))

    def add(self, new: NewCluster, caller: Caller) -> ClusterRow:
        """Take a cluster in, when it answers and its machines can reach this server; return its row."""
        caller.check_admin("adding clusters")
        cluster = self.checked(new, caller.name)
        self._check_answers(cluster.address, new.token)
        self.take_in(cluster, new.token)
        return self._row(cluster, None)

    def change(self, name: str, changes: ClusterChanges, caller: Caller) -> ClusterRow:
        """Change some of what a cluster is, and return its row; Conflict while runs use it.

        How long they wait for machines may be changed at any time.
        """
        caller.check_admin("changing clusters")
        if name == LOCAL_CLUSTER:
            raise Conflict("this computer cannot be changed", hint="`grid clusters` lists the others")
        with self._database.read() as tx:
            known, default = tx.clusters.find(name), tx.clusters.default(caller.name)
        if known.hosts is not None and (changes.address, changes.token, changes.python) != (None, None, None):
            raise Conflict(
                f"Ray was started on the hosts of {name} by this server, which knows where and with what",
                hint=f"`grid clusters remove {name}`, then add it with other options",
            )
        wanted = NewCluster(
            name=name,
            engine=known.engine,
            address=known.address if changes.address is None else changes.address,
            possible=dict(known.possible) if changes.possible is None else changes.possible,
            work_dir=changes.work_dir or known.work_dir,
            python=known.python if changes.python is None else changes.python or None,
            replace_s=known.replace_s if changes.replace_s is None else changes.replace_s or None,
        )
        cluster = dataclasses.replace(self.checked(wanted, known.user), created_us=known.created_us, hosts=known.hosts)
        if changes == ClusterChanges(replace_s=changes.replace_s):
            with self._database.transaction() as tx:
                tx.clusters.change(cluster)
            return self._row(cluster, default)
        token = changes.token or self.token(name)
        self._check_answers(cluster.address, token)
        with self._database.transaction() as tx:
            tx.clusters.check_unused(name)
            tx.clusters.change(cluster)
        self._keep_token(name, token)
        self._engines.remove(name)
        self._engines.add(name, self._make(cluster, token))
        self._changed()
        return self._row(cluster, default)

    def take_in(self, cluster: Cluster, token: str | None) -> None:
        """Have a cluster that answers from now on; Conflict when its name is taken."""
        with self._database.transaction() as tx:
            tx.clusters.add(cluster)
        self._keep_token(cluster.name, token)
        self._engines.add(cluster.name, self._make(cluster, token))
        self._changed()

    def take_back(self, cluster: Cluster) -> None:
        """Go on with a cluster that was started again, perhaps with its API at another address."""
        with self._database.transaction() as tx:
            known = tx.clusters.find(cluster.name)  # it may have been changed while its hosts started
            cluster = dataclasses.replace(known, address=cluster.address, hosts=cluster.hosts)
            tx.clusters.change(cluster)
        if cluster != known:
            self._engines.remove(cluster.name)
            self._engines.add(cluster.name, self._make(cluster, self.token(cluster.name)))
        self._changed()

    def all(self, user: str) -> list[ClusterRow]:
        """Return all clusters, this computer first."""
        with self._database.read() as tx:
            known, default = tx.clusters.list(), tx.clusters.default(user)
        return [self._row(cluster, default) for cluster in (None, *known)]

    def choices(self, user: str) -> list[ClusterChoice]:
        """Return all clusters as what a run can go to, this computer first."""
        with self._database.read() as tx:
            known, default = tx.clusters.list(), tx.clusters.default(user) or LOCAL_CLUSTER
        labels = {LOCAL_CLUSTER: "This computer"} | {cluster.name: self._label(cluster) for cluster in known}
        return [ClusterChoice(cluster=name, label=label, default=name == default) for name, label in labels.items()]

    def _label(self, cluster: Cluster) -> str:
        try:
            inventory = self._engines.of(cluster.name).inventory()
        except GridError:
            return f"{cluster.name}: does not answer"
        machines = inventory.all if isinstance(inventory, Fleet) else ()
        return cluster_label(cluster.name, len(machines), sum(machine.gpus for machine in machines))

    def show(self, name: str, user: str) -> ClusterDocument:
        """Return one cluster with its machines, and what runs on each."""
        with self._database.read() as tx:
            cluster = None if name == LOCAL_CLUSTER else tx.clusters.find(name)
            default = tx.clusters.default(user)
            used = _used(tx, name)
        row = dataclasses.asdict(self._row(cluster, default))
        inventory = self._engines.of(name).inventory()
        if isinstance(inventory, Inventory):
            return ClusterDocument(**row, machines=[_computer(inventory)], possible=[], hosts=[])
        machines = [
            ClusterMachine(
                address=machine.address,
                kind=self._catalogue.nickname_of(kind=machine.kind, gpus=machine.gpus, accelerator=machine.accelerator),
                cpus=machine.cpus,
                cpus_used=sum(cpus for cpus, _, _ in used.get(machine.address, [])),
                gpus=machine.gpus,
                gpus_used=sum(gpus for _, gpus, _ in used.get(machine.address, [])),
                accelerator=machine.accelerator or None,
                memory_mib=machine.memory_mib,
                experiments=[experiment for _, _, experiment in used.get(machine.address, [])],
            )
            for machine in inventory.machines
        ]
        possible = dict(cluster.possible) if cluster is not None else {}
        return ClusterDocument(
            **row,
            machines=machines,
            possible=[PossibleMachines(type=type, most=most) for type, most in possible.items()],
            hosts=self._looked(cluster, inventory),
        )

    def check(self, name: str) -> list[CheckedMachine]:
        """Ask every machine of a cluster about itself and its way to this server. Blocks for seconds."""
        engine = self._engines.of(name)
        if not isinstance(engine, Checkable):
            raise InvalidValue(f"{name} is this computer", hint="`grid doctor` looks at it")
        return [from_json(CheckedMachine, answer) for answer in engine.check()]

    def logs(self, name: str, *, since_us: int | None, until_us: int | None, limit: int) -> ClusterLogsDocument:
        """Return the newest lines that the engine itself wrote on a cluster's machines. Blocks for seconds."""
        engine = self._engines.of(name)
        if not isinstance(engine, Logged):
            raise InvalidValue(f"{name} is this computer, which has no engine's logs", hint="`grid server status`")
        if not 0 < limit <= _MOST_LINES:
            raise InvalidValue(f"{limit} lines: from 1 to {_MOST_LINES}", field="limit")
        with self._database.read() as tx:
            cluster = tx.clusters.find(name)
        of_each = _MOST_LINES if since_us is not None or until_us is not None else limit
        problems: list[ClusterHost] = []
        if cluster.hosts is not None:
            found, problems = self._hosts.logs(cluster, of_each)
        else:
            found = engine.logs(of_each)
        lines = merged(found, since_us=since_us, until_us=until_us, limit=limit)
        shown = [
            ClusterLogLine(
                host=line.host, file=line.file, at=at_text(line.at_us) if line.at_us else None, text=line.text
            )
            for line in lines
        ]
        return ClusterLogsDocument(cluster=name, lines=shown, problems=problems)

    def remove(self, name: str, caller: Caller, *, force: bool = False) -> list[ClusterHost]:
        """Forget a cluster, end Ray where this server has started it, and return how that went on each host.

        Conflict while runs use it; Unusable when Ray could not be ended on a host, unless `force` says to forget the
        cluster all the same.
        """
        caller.check_admin("removing clusters")
        if name == LOCAL_CLUSTER:
            raise Conflict("this computer cannot be removed", hint="`grid user set-cluster-context NAME` avoids it")
        with self._database.read() as tx:
            tx.clusters.check_unused(name)
            cluster = tx.clusters.find(name)
        ended = self._hosts.stop(cluster) if cluster.hosts is not None else []
        if not force and (problems := problems_text(ended)):
            raise Unusable(
                f"Ray could not be ended everywhere: {problems}",
                hint=f"mend that and try again; `grid clusters remove {name} --force` forgets it all the same",
            )
        with self._database.transaction() as tx:
            tx.clusters.remove(name)
        self._engines.remove(name)
        self._file(name).unlink(missing_ok=True)
        return ended

    def set_default(self, name: str, user: str) -> None:
        """Choose where a user's runs go from now on."""
        with self._database.transaction() as tx:
            tx.clusters.set_default(user, None if name == LOCAL_CLUSTER else name)

    def checked(self, new: NewCluster, user: str) -> Cluster:
        """Return what is asked for as a record; InvalidValue, Conflict or UnknownInstanceType when it cannot be."""
        return checked_cluster(new, self._catalogue, user=user, now_us=self._now_us())

    def _row(self, cluster: Cluster | None, default: str | None) -> ClusterRow:
        name = cluster.name if cluster is not None else LOCAL_CLUSTER
        sizes, problem = self._sizes(name)
        return ClusterRow(
            cluster=name,
            engine=cluster.engine if cluster is not None else "local",
            address=cluster.address if cluster is not None else None,
            default=name == (default or LOCAL_CLUSTER),
            machine_count=len(sizes),
            cpus=sum(cpus for cpus, _ in sizes),
            gpus=sum(gpus for _, gpus in sizes),
            problem=problem,
        )

    def _sizes(self, name: str) -> tuple[list[tuple[int, int]], str | None]:
        """Return CPUs and GPUs of each machine of a cluster, and why it does not answer."""
        try:
            inventory = self._engines.of(name).inventory()
        except GridError as error:
            return [], error.message
        if isinstance(inventory, Fleet):
            return [(machine.cpus, machine.gpus) for machine in inventory.machines], inventory.problem
        return [(inventory.cpus, len(inventory.accelerators))], None

    def _looked(self, cluster: Cluster | None, fleet: Fleet) -> list[ClusterHost]:
        """Return how the hosts that this server has started do; those whose nodes Ray does not know are asked."""
        if cluster is None or cluster.hosts is None:
            return []
        joined = {machine.address for machine in fleet.machines} if fleet.problem is None else set[str]()
        return self._hosts.look(cluster, joined)

    def _check_answers(self, address: str, token: str | None) -> None:
        """Raise Unusable unless an engine answers there, and its machines can reach this server."""
        line = self._unreachable(address)
        if line is not None:
            raise Unusable(
                "the machines of a cluster could not reach this server: it serves this computer only", hint=line
            )
        try:
            self._greet(address, token)
        except EngineAway as error:
            raise Unusable(error.message, hint=_way_hint(address, error.message)) from error

    def token(self, name: str) -> str | None:
        """Return the token of a cluster's API."""
        try:
            return self._file(name).read_text()
        except FileNotFoundError:
            return None

    def _keep_token(self, name: str, token: str | None) -> None:
        self._file(name).unlink(missing_ok=True)
        if token is not None:
            self._tokens.mkdir(mode=0o700, exist_ok=True)
            with open(os.open(self._file(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(token)

    def _file(self, name: str) -> Path:
        return self._tokens / f"{name}.token"


def _way_hint(address: str, why: str) -> str:
    """Return what to look at when no engine answers at an address."""
    if "WRONG_VERSION_NUMBER" in why:
        return f"there is no TLS: http{address.removeprefix('https')}"
    if "CERTIFICATE_VERIFY_FAILED" in why:
        return "SSL_CERT_FILE, where the server is started, names a file with the certificates that it trusts"
    if address.startswith("http:") and ("reset by peer" in why or "closed" in why):
        return f"is there TLS? https{address.removeprefix('http')}"
    return "is it the address of the head's dashboard, http://HEAD:8265?"


def _used(tx: Transaction, cluster: str) -> dict[str, list[tuple[int, int, str]]]:
    """Return (CPUs, GPUs, experiment) that attempts take of each machine, by its address."""
    used: dict[str, list[tuple[int, int, str]]] = {}
    for attempt in tx.attempts.active(cluster=cluster):
        experiment = tx.runs.experiment_by_id(attempt.experiment_id)
        plan = tx.runs.find_by_id(experiment.run_id).plan
        for machine, bundle in zip(tx.attempts.machines(attempt.id), plan.bundles, strict=True):
            if machine.address is not None:
                used.setdefault(machine.address, []).append((bundle.cpus, bundle.gpus, experiment.name))
    return used


def _computer(inventory: Inventory) -> ClusterMachine:
    return ClusterMachine(
        address=inventory.hostname,
        kind=None,
        cpus=inventory.cpus,
        cpus_used=None,
        gpus=len(inventory.accelerators),
        gpus_used=sum(accelerator.busy is not None for accelerator in inventory.accelerators),
        accelerator=inventory.accelerators[0].name if inventory.accelerators else None,
        memory_mib=inventory.memory_mib,
        experiments=[],
    )
