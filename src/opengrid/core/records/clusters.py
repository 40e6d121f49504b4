"""Clusters, and the hosts of those that we have started ourselves."""

from __future__ import annotations

from dataclasses import dataclass

#: The cluster that is always there: the computer of the server itself.
LOCAL_CLUSTER = "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHosts:
    """The hosts of a cluster on which we have started the engine ourselves, by ssh. The first one is its head."""

    id: str  #: what all processes of the cluster carry in their environment
    names: tuple[str, ...]  #: as ssh is told them: [USER@]HOST[:PORT]
    addresses: tuple[str, ...] = ()  #: where others reach each of them; none before they were asked
    python: str | None = None  #: interpreter that was asked for on all of them; None: one is chosen on each
    install: tuple[str, ...] = ()  #: packages that were asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Machines that an engine starts gangs on; the server's own computer, LOCAL_CLUSTER, is none of these records."""

    name: str
    engine: str  #: ray
    address: str  #: of the engine's API: http://head:8265
    possible: dict[str, int]  #: machine types that it can start, with the most of each
    work_dir: str  #: folder on every machine below which experiments work
    python: str | None  #: interpreter of the ranks; None: the one that the engine runs with
    user: str  #: who added it
    created_us: int
    hosts: ClusterHosts | None = None  #: None: it was there before, and stays when it is removed
    replace_s: float | None = None  #: how long a gang waits for a machine in the place of a lost one; None: as usual
