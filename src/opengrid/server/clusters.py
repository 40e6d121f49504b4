"""Clusters, put together with the one engine that they have: Ray, on machines that others run, or on hosts by ssh."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Callable

from opengrid.core.records.clusters import Cluster
from opengrid.engines.engine import Engine, Engines
from opengrid.engines.ray.engine import RayEngine, greet
from opengrid.engines.ray.hosts import TESTED_RAY, Hosts, check_python, living
from opengrid.engines.ray.jobs_api import HEAD_LOGS, NODE_LOGS
from opengrid.engines.ray.render import Program
from opengrid.engines.ray.ssh import Ssh, parse_host
from opengrid.planning.catalogue import Catalogue
from opengrid.server.reach import Reach
from opengrid.server.settings import Settings
from opengrid.server.zipapp import Zipapp
from opengrid.services.cluster_starts import ClusterStarts
from opengrid.services.clusters import Clusters
from opengrid.services.hosts import HostClusters
from opengrid.store.database import Database


def open_clusters(
    settings: Settings,
    database: Database,
    engines: Engines,
    catalogue: Catalogue,
    zipapp: Zipapp,
    reach: Reach,
    *,
    on_change: Callable[[], None],
    orders_changed: Callable[[str], None],
    changed: Callable[[], None],
    now_us: Callable[[], int],
) -> tuple[Clusters, ClusterStarts]:
    """Return the use cases around clusters, and around the hosts of those that this server starts itself.

    `on_change` and `orders_changed` hear of gangs and of what their drivers shall do, `changed` of clusters.
    """
    notes = settings.state / "clusters"

    def program(address: str) -> Program:
        digest = zipapp.digest()
        return Program(url=f"{reach.home_for(address).url}/agent/v1/program/{digest}", digest=digest)

    def engine(cluster: Cluster, token: str | None) -> Engine:
        return RayEngine(
            cluster,
            token,
            catalogue=catalogue,
            home=lambda: reach.home_for(cluster.address),
            program=lambda: program(cluster.address),
            on_change=on_change,
            orders_changed=orders_changed,
        )

    hosts = HostClusters(
        Hosts(Ssh(os.environ, user=getpass.getuser(), here=socket.gethostname())),
        greet=greet,
        living=living,
        home_url=lambda address: reach.home_for(f"http://{address}").url,
        ray=TESTED_RAY,
        log_files=(*NODE_LOGS, *HEAD_LOGS),
    )
    clusters = Clusters(
        database,
        engines,
        catalogue,
        make=engine,
        greet=greet,
        unreachable=reach.line_for,
        hosts=hosts,
        tokens=notes,
        changed=changed,
        now_us=now_us,
    )
    starts = ClusterStarts(
        database,
        clusters,
        hosts,
        notes=notes,
        line=reach.line,
        check_host=parse_host,
        check_python=check_python,
    )
    return clusters, starts
