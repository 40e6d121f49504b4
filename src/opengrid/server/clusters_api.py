"""Clusters over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request, Response

from opengrid.server.auth import Users, caller_of, user_of
from opengrid.services.cluster_requests import ClusterChanges, NewCluster
from opengrid.services.cluster_starts import ClusterStarts
from opengrid.services.cluster_templates import ClusterTemplates, TemplateDocument, WantedTemplate
from opengrid.services.clusters import Clusters


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where a user's runs shall go."""

    cluster: str


def clusters_api(clusters: Clusters, starts: ClusterStarts, templates: ClusterTemplates, users: Users) -> APIRouter:
    """Return the routes for clusters."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/clusters")
    def list_clusters(request: Request) -> dict[str, object]:
        return {"clusters": clusters.all(user_of(request))}

    @api.post("/clusters", status_code=201)
    def add(new: NewCluster, request: Request, response: Response) -> dict[str, object]:
        if not new.hosts:
            return clusters.add(new, caller_of(request))
        starts.add(new, caller_of(request))
        response.status_code = 202
        return starts.progress(new.name, 0)

    @api.post("/cluster-templates")
    def template(wanted: WantedTemplate) -> TemplateDocument:
        return templates.template(wanted)

    @api.get("/clusters/{name}")
    def show(name: str, request: Request) -> dict[str, object]:
        return clusters.show(name, user_of(request))

    @api.post("/clusters/{name}/check")
    def check(name: str) -> dict[str, object]:
        return {"cluster": name, "machines": clusters.check(name)}

    @api.post("/clusters/{name}/start", status_code=202)
    def start(name: str, request: Request) -> dict[str, object]:
        starts.start(name, caller_of(request))
        return starts.progress(name, 0)

    @api.get("/clusters/{name}/start")
    def progress(name: str, after: int = 0) -> dict[str, object]:
        return starts.progress(name, after)

    @api.get("/clusters/{name}/logs")
    def logs(
        name: str, since_us: int | None = None, until_us: int | None = None, limit: int = 200
    ) -> dict[str, object]:
        return clusters.logs(name, since_us=since_us, until_us=until_us, limit=limit)

    @api.patch("/clusters/{name}")
    def change(name: str, changes: ClusterChanges, request: Request) -> dict[str, object]:
        return clusters.change(name, changes, caller_of(request))

    @api.delete("/clusters/{name}")
    def remove(name: str, request: Request, *, force: bool = False) -> dict[str, object]:
        starts.check_idle(name)
        return {"removed": name, "ended": clusters.remove(name, caller_of(request), force=force)}

    @api.put("/default-cluster", status_code=204)
    def set_default(choice: Choice, request: Request) -> None:
        clusters.set_default(choice.cluster, user_of(request))

    return api
