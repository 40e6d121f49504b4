"""Clusters over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request, Response

from opengrid.server.auth import Users, caller_of, user_of
from opengrid.services.cluster_requests import ClusterChanges, NewCluster
from opengrid.services.cluster_starts import ClusterStarts
from opengrid.services.cluster_templates import ClusterTemplateDocument, ClusterTemplates, WantedTemplate
from opengrid.services.clusters import Clusters
from opengrid.services.documents.clusters import (
    CheckedClusterDocument,
    ClusterDocument,
    ClusterLogsDocument,
    ClusterRow,
    ClustersDocument,
    ClusterStartDocument,
    RemovedClusterDocument,
)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where a user's runs shall go."""

    cluster: str


def clusters_api(clusters: Clusters, starts: ClusterStarts, templates: ClusterTemplates, users: Users) -> APIRouter:
    """Return the routes for clusters."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/clusters")
    def list_clusters(request: Request) -> ClustersDocument:
        return ClustersDocument(clusters=clusters.all(user_of(request)))

    @api.post("/clusters", status_code=201)
    def add(new: NewCluster, request: Request, response: Response) -> ClusterRow | ClusterStartDocument:
        if not new.hosts:
            return clusters.add(new, caller_of(request))
        starts.add(new, caller_of(request))
        response.status_code = 202
        return starts.progress(new.name, 0)

    @api.post("/cluster-templates")
    def template(wanted: WantedTemplate) -> ClusterTemplateDocument:
        return templates.template(wanted)

    @api.get("/clusters/{name}")
    def show(name: str, request: Request) -> ClusterDocument:
        return clusters.show(name, user_of(request))

    @api.post("/clusters/{name}/check")
    def check(name: str) -> CheckedClusterDocument:
        return CheckedClusterDocument(cluster=name, machines=clusters.check(name))

    @api.post("/clusters/{name}/start", status_code=202)
    def start(name: str, request: Request) -> ClusterStartDocument:
        starts.start(name, caller_of(request))
        return starts.progress(name, 0)

    @api.get("/clusters/{name}/start")
    def progress(name: str, after: int = 0) -> ClusterStartDocument:
        return starts.progress(name, after)

    @api.get("/clusters/{name}/logs")
    def logs(
        name: str, since_us: int | None = None, until_us: int | None = None, limit: int = 200
    ) -> ClusterLogsDocument:
        return clusters.logs(name, since_us=since_us, until_us=until_us, limit=limit)

    @api.patch("/clusters/{name}")
    def change(name: str, changes: ClusterChanges, request: Request) -> ClusterRow:
        return clusters.change(name, changes, caller_of(request))

    @api.delete("/clusters/{name}")
    def remove(name: str, request: Request, *, force: bool = False) -> RemovedClusterDocument:
        starts.check_idle(name)
        hosts = clusters.remove(name, caller_of(request), force=force)
        return RemovedClusterDocument(
            removed=name,
            ended=[host.host for host in hosts if host.problem is None],
            left=[host for host in hosts if host.problem is not None],
        )

    @api.put("/default-cluster", status_code=204)
    def set_default(choice: Choice, request: Request) -> None:
        clusters.set_default(choice.cluster, user_of(request))

    return api
