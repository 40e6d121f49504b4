"""Clusters: added, made of hosts, started, asked, changed, removed; and the types of machines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from opengrid.client.calls.calls import Calls
from opengrid.client.http import Query

if TYPE_CHECKING:
    from opengrid.client.documents import (
        CheckedMachine,
        ClusterDocument,
        ClusterLogsDocument,
        ClusterRow,
        ClusterStartDocument,
        ClusterTemplateDocument,
        InstanceTypeRow,
        RemovedClusterDocument,
    )


class ClusterCalls(Calls):
    """Clusters: added, made of hosts, started, asked, changed, removed; and the types of machines."""

    def clusters(self) -> list[ClusterRow]:
        """Return all clusters, the server's computer first."""
        return cast("list[ClusterRow]", self._get("/api/v1/clusters")["clusters"])

    def cluster(self, name: str) -> ClusterDocument:
        """Return one cluster with its machines."""
        return cast("ClusterDocument", self._get(f"/api/v1/clusters/{name}"))

    def add_cluster(self, new: Mapping[str, object]) -> ClusterRow:
        """Take a cluster in."""
        return cast("ClusterRow", self._post("/api/v1/clusters", dict(new)))

    def make_cluster(self, new: Mapping[str, object]) -> ClusterStartDocument:
        """Begin to make a cluster of hosts; `cluster_start` tells how far that is."""
        return cast("ClusterStartDocument", self._post("/api/v1/clusters", dict(new)))

    def start_cluster(self, name: str) -> ClusterStartDocument:
        """Begin to start the engine on the hosts of a cluster where it does not run."""
        return cast("ClusterStartDocument", self._post(f"/api/v1/clusters/{name}/start", {}))

    def cluster_start(self, name: str, after: int) -> ClusterStartDocument:
        """Return what the newest start of a cluster's hosts has told since its line number `after`."""
        return cast("ClusterStartDocument", self._get(f"/api/v1/clusters/{name}/start", {"after": str(after)}))

    def cluster_template(
        self, provider: str, types: Mapping[str, int], region: str, image: str | None
    ) -> ClusterTemplateDocument:
        """Return a file from which a cluster can be made on a cloud."""
        wanted = {"provider": provider, "types": dict(types), "region": region, "image": image}
        return cast("ClusterTemplateDocument", self._post("/api/v1/cluster-templates", wanted))

    def check_cluster(self, name: str) -> list[CheckedMachine]:
        """Ask every machine of a cluster about itself; blocks for seconds."""
        answer = self._post(f"/api/v1/clusters/{name}/check", {}, timeout_s=120)
        return cast("list[CheckedMachine]", answer["machines"])

    def cluster_logs(self, name: str, query: Query) -> ClusterLogsDocument:
        """Return what a cluster's engine wrote itself: `since_us`, `until_us`, `limit`; blocks for seconds."""
        return cast("ClusterLogsDocument", self._get(f"/api/v1/clusters/{name}/logs", query, timeout_s=120))

    def change_cluster(self, name: str, changes: Mapping[str, object]) -> ClusterRow:
        """Change some of what a cluster is."""
        answer = self._transport.request("PATCH", f"/api/v1/clusters/{name}", json=dict(changes))
        return cast("ClusterRow", answer.json())

    def remove_cluster(self, name: str, *, force: bool = False) -> RemovedClusterDocument:
        """Forget a cluster that nothing uses, and end what the server has started of it."""
        query = {"force": "1"} if force else None
        answer = self._transport.request("DELETE", f"/api/v1/clusters/{name}", query=query, timeout_s=600)
        return cast("RemovedClusterDocument", answer.json())

    def instance_types(self) -> list[InstanceTypeRow]:
        """Return the types of machines."""
        return cast("list[InstanceTypeRow]", self._get("/api/v1/instance-types")["instance_types"])

    def set_default_cluster(self, name: str) -> None:
        """Choose where one's runs go from now on."""
        self._transport.request("PUT", "/api/v1/default-cluster", json={"cluster": name})
