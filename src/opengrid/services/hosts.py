"""Clusters made of hosts that only have ssh and Python: Ray is started on each of them, watched, and ended."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar, cast

from opengrid.core.errors import Conflict, GridError, Unauthorized, Unusable
from opengrid.core.records.clusters import Cluster, ClusterHosts
from opengrid.planning.node_logs import NodeLog
from opengrid.services.documents.clusters import ClusterHost

T = TypeVar("T")

#: Nodes that Ray has started are known to its head after at most so long.
_JOIN_S, _LOOK_S = 60.0, 0.5

#: So many hosts are spoken to at once.
_MOST_AT_ONCE = 32


class Orders(Protocol):
    """The way to hosts: engines.ray.hosts."""

    def order(self, host: str, order: Mapping[str, object], progress: Callable[[str], None] = ...) -> dict[str, object]:
        """Have a host do something; GridError without the host's name when it cannot."""
        ...


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Hosts on which Ray can be started, by the names that they were given."""

    addresses: Mapping[str, str]
    pythons: Mapping[str, str]  #: interpreters that have Ray


class HostClusters:
    """Starts and ends Ray on the hosts of clusters. Blocks; for several threads at once, one for each cluster."""

    def __init__(
        self,
        orders: Orders,
        *,
        greet: Callable[[str, str | None], str],
        living: Callable[[str, str], set[str]],
        home_url: Callable[[str], str],
        ray: str,
        log_files: Sequence[str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`greet` and `living` ask a head for its version and for the addresses of the nodes that have joined.

        `home_url` tells by which URL a host at an address reaches this server; `ray` is the version to install.
        `log_files` are those of Ray's that tell why something does not work.
        """
        self._log_files = log_files
        self._orders, self._greet, self._living = orders, greet, living
        self._home_url, self._ray, self._clock = home_url, ray, clock

    def prepare(self, cluster: Cluster, progress: Callable[[str, str], None]) -> Prepared:
        """See that all hosts can run Ray and reach this server; nothing is started.

        `progress` hears (host, text). GridError names every host that failed and why.
        """
        hosts = _hosts_of(cluster)
        looked = self._each(hosts.names, lambda host: self._order(hosts, host, {"do": "look"}, progress))
        addresses = {host: str(about["address"]) for host, about in zip(hosts.names, looked, strict=True)}
        _check_different(addresses)

        def prepare(host: str) -> dict[str, object]:
            server = self._home_url(addresses[host])
            order = {
                "do": "prepare",
                "id": hosts.id,
                "install": list(hosts.install),
                "ray": self._ray,
                "server": server,
            }
            about = self._order(hosts, host, order, progress)
            torch = f"torch {about['torch']}" if about["torch"] else "no torch"
            progress(host, f"has Python {about['python']}, Ray {about['ray']}, {torch} ({about['path']})")
            if not about["torch"]:
                progress(host, "`--install torch` would bring torch, `--python PATH` names an interpreter that has it")
            if about["others"]:
                pids = ", ".join(map(str, cast("list[int]", about["others"])))
                progress(host, f"another Ray runs there (raylet {pids}): both will hand out the same GPUs")
            return about

        prepared = dict(zip(hosts.names, self._each(hosts.names, prepare), strict=True))
        _check_alike(prepared)
        return Prepared(addresses=addresses, pythons={host: str(about["path"]) for host, about in prepared.items()})

    def launch(self, cluster: Cluster, prepared: Prepared, token: str, progress: Callable[[str, str], None]) -> Cluster:
        """Start Ray on all hosts where it does not run; return the cluster with its addresses.

        GridError as above; what was started by then runs.
        """
        hosts, addresses = _hosts_of(cluster), prepared.addresses

        def run(host: str, gcs: object, *, anew: bool) -> dict[str, object]:
            order = {
                "do": "start",
                "id": hosts.id,
                "python": prepared.pythons[host],
                "token": token,
                "address": addresses[host],
                "gcs": gcs,
                "anew": anew,
            }
            node = self._order(hosts, host, order, progress)
            progress(host, f"Ray runs at {addresses[host]}")
            return node

        first, others = hosts.names[0], hosts.names[1:]
        (head,) = self._each([first], lambda host: run(host, None, anew=False))
        address = str(head["dashboard"])
        self._each([first], lambda _: self._check_head(address, token))
        self._each(others, lambda host: run(host, head["gcs"], anew=not head["was_running"]))
        self._wait_for(address, token, {addresses[host]: host for host in hosts.names})
        known = dataclasses.replace(hosts, addresses=tuple(addresses[host] for host in hosts.names))
        return dataclasses.replace(cluster, address=address, hosts=known)

    def stop(self, cluster: Cluster) -> list[ClusterHost]:
        """End Ray on all hosts, and nothing else; return how each came off."""
        hosts = _hosts_of(cluster)

        def end(host: str) -> str | None:
            try:
                self._order(hosts, host, {"do": "stop", "id": hosts.id, "forget": True})
            except GridError as error:
                return error.message
            return None

        addresses = hosts.addresses or ("",) * len(hosts.names)
        return [
            ClusterHost(host=host, address=address, problem=problem)
            for host, address, problem in zip(hosts.names, addresses, _parallel(end, hosts.names), strict=True)
        ]

    def look(self, cluster: Cluster, joined: set[str]) -> list[ClusterHost]:
        """Return how each host does; those whose node is none of the `joined` addresses are asked."""
        hosts = _hosts_of(cluster)

        def ask(host: str) -> str | None:
            try:
                answer = self._order(hosts, host, {"do": "status", "id": hosts.id})
            except GridError as error:
                return error.message
            return str(answer["problem"] or "Ray runs there, but its head does not know it")

        missing = [n for n, a in zip(hosts.names, hosts.addresses, strict=True) if a not in joined]
        problems = dict(zip(missing, _parallel(ask, missing), strict=True))
        return [
            ClusterHost(host=name, address=address, problem=problems.get(name))
            for name, address in zip(hosts.names, hosts.addresses, strict=True)
        ]

    def logs(self, cluster: Cluster, limit: int) -> tuple[list[NodeLog], list[ClusterHost]]:
        """Return the last lines of each file that Ray wrote on each host, and the hosts that could not be asked."""
        hosts = _hosts_of(cluster)
        order = {"do": "logs", "id": hosts.id, "names": list(self._log_files), "limit": limit}

        def ask(host: str) -> list[NodeLog] | GridError:
            try:
                answer = self._order(hosts, host, order)
            except GridError as error:
                return error
            files = cast("dict[str, list[str]]", answer["files"])
            offset = cast("int", answer["utc_offset_s"])
            return [NodeLog(host=host, file=file, lines=lines, utc_offset_s=offset) for file, lines in files.items()]

        answers = list(zip(hosts.names, hosts.addresses, _parallel(ask, hosts.names), strict=True))
        problems = [
            ClusterHost(host=name, address=address, problem=answer.message)
            for name, address, answer in answers
            if isinstance(answer, GridError)
        ]
        return [log for _, _, answer in answers if not isinstance(answer, GridError) for log in answer], problems

    def _order(
        self,
        hosts: ClusterHosts,
        host: str,
        order: Mapping[str, object],
        progress: Callable[[str, str], None] = lambda _, __: None,
    ) -> dict[str, object]:
        return self._orders.order(host, {"python": hosts.python, **order}, lambda text: progress(host, text))

    def _each(self, hosts: Sequence[str], do: Callable[[str], T]) -> list[T]:
        """Do something for all hosts at once; when it fails for some, say for which and why."""

        def attempt(host: str) -> T | GridError:
            try:
                return do(host)
            except GridError as error:
                return error

        results = _parallel(attempt, hosts)
        failed = {host: r for host, r in zip(hosts, results, strict=True) if isinstance(r, GridError)}
        if failed:
            hint = next((error.hint for error in failed.values() if error.hint), None)
            raise Unusable("; ".join(f"{host}: {error.message}" for host, error in failed.items()), hint=hint)
        return [result for result in results if not isinstance(result, GridError)]

    def _check_head(self, address: str, token: str) -> None:
        """Raise GridError unless the head answers, and only to those who have the token."""
        self._greet(address, token)
        try:
            self._greet(address, None)
        except Unauthorized:
            return
        raise GridError(
            f"Ray at {address} answers without a token", hint="does that Ray have tokens? They came with 2.52"
        )

    def _wait_for(self, address: str, token: str, expected: Mapping[str, str]) -> None:
        deadline = self._clock() + _JOIN_S
        while missing := set(expected) - self._living(address, token):
            if self._clock() > deadline:
                names = ", ".join(f"{expected[one]} ({one})" for one in sorted(missing))
                raise Unusable(
                    f"Ray was started, but its head at {address} does not see {names}",
                    hint="is there a firewall between the hosts? Ray needs all ports from 1024 on between them",
                )
            time.sleep(_LOOK_S)


def problems_text(hosts: Sequence[ClusterHost]) -> str:
    """Return `box2: ssh: no route to host; box3: …`."""
    return "; ".join(f"{host.host}: {host.problem}" for host in hosts if host.problem)


def new_hosts(names: Sequence[str], *, python: str | None, install: Sequence[str]) -> ClusterHosts:
    """Return hosts that are to become a cluster, with an id of their own."""
    return ClusterHosts(id=secrets.token_hex(4), names=tuple(names), python=python, install=tuple(install))


def _hosts_of(cluster: Cluster) -> ClusterHosts:
    if cluster.hosts is None:
        raise Conflict(
            f"{cluster.name} was there before it was added: this server has started nothing of it",
            hint="start or stop it as you did before",
        )
    return cluster.hosts


def _check_different(addresses: Mapping[str, str]) -> None:
    seen: dict[str, str] = {}
    for host, address in addresses.items():
        if address in seen:
            raise Unusable(f"{seen[address]} and {host} are one computer ({address})", hint="name each host once")
        seen[address] = host


def _check_alike(prepared: Mapping[str, Mapping[str, object]]) -> None:
    """Raise Unusable unless they can be one Ray: the same version of it, and of Python but for the last number."""
    kinds = {(about["ray"], str(about["python"]).rpartition(".")[0]) for about in prepared.values()}
    if len(kinds) > 1:
        found = ", ".join(
            f"{host} has Ray {about['ray']} with Python {about['python']} ({about['path']})"
            for host, about in prepared.items()
        )
        raise Unusable(
            f"all hosts must run one version of Ray and Python: {found}",
            hint="`--python PATH` names an interpreter that all of them have; one without Ray gets it",
        )


def _parallel(do: Callable[[str], T], hosts: Sequence[str]) -> list[T]:
    with ThreadPoolExecutor(max_workers=max(1, min(len(hosts), _MOST_AT_ONCE))) as pool:
        return list(pool.map(do, hosts))
