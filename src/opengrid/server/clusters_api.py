"""Clusters over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request

from opengrid.server.auth import Users, caller_of, user_of
from opengrid.services.clusters import Clusters, NewCluster


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Where a user's runs shall go."""

    cluster: str


def clusters_api(clusters: Clusters, users: Users) -> APIRouter:
    """Return the routes for clusters."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/clusters")
    def list_clusters(request: Request) -> dict[str, object]:
        return {"clusters": clusters.all(user_of(request))}

    @api.post("/clusters", status_code=201)
    def add(new: NewCluster, request: Request) -> dict[str, object]:
        return clusters.add(new, caller_of(request))

    @api.get("/clusters/{name}")
    def show(name: str, request: Request) -> dict[str, object]:
        return clusters.show(name, user_of(request))

    @api.post("/clusters/{name}/check")
    def check(name: str) -> dict[str, object]:
        return {"cluster": name, "machines": clusters.check(name)}

    @api.delete("/clusters/{name}", status_code=204)
    def remove(name: str, request: Request) -> None:
        clusters.remove(name, caller_of(request))

    @api.put("/default-cluster", status_code=204)
    def set_default(choice: Choice, request: Request) -> None:
        clusters.set_default(choice.cluster, user_of(request))

    return api
