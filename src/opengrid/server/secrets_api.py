"""Users' secrets over HTTP: set, named, forgotten; never read."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus

from fastapi import APIRouter, Depends, Request, Response

from opengrid.server.auth import Users, user_of
from opengrid.services.documents.document import Document
from opengrid.services.secrets import Secrets
from opengrid.services.views import at_text


@dataclass(frozen=True, kw_only=True)
class SecretValue:
    """What a secret shall be."""

    value: str


@dataclass(frozen=True, kw_only=True)
class SecretDocument:
    """A secret, without what is in it."""

    name: str
    changed_at: str


@dataclass(frozen=True, kw_only=True)
class SecretsDocument(Document):
    """All secrets of whoever asks."""

    secrets: list[SecretDocument]


def secrets_api(secrets: Secrets, users: Users) -> APIRouter:
    """Return the routes."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/secrets")
    def list_secrets(request: Request) -> SecretsDocument:
        found = secrets.list(user_of(request))
        return SecretsDocument(secrets=[SecretDocument(name=name, changed_at=at_text(at)) for name, at in found])

    @api.put("/secrets/{name}", status_code=HTTPStatus.NO_CONTENT)
    def put(name: str, secret: SecretValue, request: Request) -> Response:
        secrets.put(user_of(request), name, secret.value)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.delete("/secrets/{name}", status_code=HTTPStatus.NO_CONTENT)
    def remove(name: str, request: Request) -> Response:
        secrets.remove(user_of(request), name)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    return api
