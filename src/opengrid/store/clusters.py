"""Clusters, and which one each user's runs go to unless they say otherwise."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches

from sqlalchemy import Connection, delete, insert, select, update

from opengrid.core.errors import Conflict, NotFound
from opengrid.core.records.clusters import Cluster
from opengrid.core.records.experiments import ExperimentState
from opengrid.store.tables import clusters, default_clusters, experiments, fields, runs


class Clusters:
    """Clusters in one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, cluster: Cluster) -> None:
        """Store a cluster; Conflict when its name is taken."""
        if self.look(cluster.name) is not None:
            raise Conflict(f"there is already a cluster {cluster.name}", hint="choose another name")
        self._connection.execute(insert(clusters).values(_values(cluster)))

    def list(self) -> list[Cluster]:
        """Return all clusters by name."""
        rows = self._connection.execute(select(clusters).order_by(clusters.c.name)).mappings()
        return [Cluster(**fields(row)) for row in rows]

    def look(self, name: str) -> Cluster | None:
        """Return a cluster, None when there is none such."""
        row = self._connection.execute(select(clusters).where(clusters.c.name == name)).mappings().first()
        return None if row is None else Cluster(**fields(row))

    def find(self, name: str) -> Cluster:
        """Return a cluster; NotFound names those there are."""
        found = self.look(name)
        if found is None:
            names = ["local", *(cluster.name for cluster in self.list())]
            near = get_close_matches(name, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}"
            raise NotFound(f"there is no cluster {name!r}", hint=hint, field="cluster")
        return found

    def change(self, cluster: Cluster) -> None:
        """Store what is new about a cluster; NotFound when it is not there any more."""
        self.find(cluster.name)
        self._connection.execute(update(clusters).where(clusters.c.name == cluster.name).values(_values(cluster)))

    def remove(self, name: str) -> None:
        """Remove a cluster; Conflict names the runs that still need it."""
        self.check_unused(name)
        self._connection.execute(delete(clusters).where(clusters.c.name == name))

    def check_unused(self, name: str) -> None:
        """Raise Conflict, with the names of the runs that still need a cluster."""
        self.find(name)
        users = self.users(name)
        if users:
            more = f" and {len(users) - 3} more" if len(users) > 3 else ""
            raise Conflict(
                f"the cluster {name} is used by {', '.join(users[:3])}{more}",
                hint=f"`grid stop run {' '.join(users[:3])}` first, or wait until they have ended",
            )

    def users(self, name: str) -> list[str]:
        """Return the names of the runs on a cluster that have not ended, oldest first."""
        going = [state for state in ExperimentState if not state.is_terminal]
        found = (
            select(runs)
            .where(runs.c.id.in_(select(experiments.c.run_id).where(experiments.c.state.in_(going))))
            .order_by(runs.c.created_us)
        )
        rows = self._connection.execute(found).mappings()
        return [row["name"] for row in rows if row["plan"].cluster == name]

    def default(self, user: str) -> str | None:
        """Return the cluster that a user has chosen for all runs; None: this computer."""
        chosen = select(default_clusters.c.cluster).where(default_clusters.c.user == user)
        return self._connection.execute(chosen).scalar()

    def set_default(self, user: str, cluster: str | None) -> None:
        """Choose the cluster of a user's runs; None goes back to this computer."""
        self._connection.execute(delete(default_clusters).where(default_clusters.c.user == user))
        if cluster is not None:
            self.find(cluster)
            self._connection.execute(insert(default_clusters).values(user=user, cluster=cluster))


def _values(cluster: Cluster) -> dict[str, object]:
    return {f.name: getattr(cluster, f.name) for f in dataclasses.fields(cluster)}
