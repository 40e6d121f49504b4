"""Accounts over HTTP."""

from __future__ import annotations

from dataclasses import dataclass

from fastapi import APIRouter, Depends, Request

from opengrid.core.records.accounts import User
from opengrid.server.auth import Users, caller_of
from opengrid.services.accounts import Accounts
from opengrid.services.documents.document import Document
from opengrid.services.views import at_text


@dataclass(frozen=True, kw_only=True)
class NewUser:
    """Who shall have an account."""

    name: str


@dataclass(frozen=True, kw_only=True)
class UserDocument:
    """Somebody with an account."""

    user: str
    is_active: bool  #: has a token
    is_admin: bool  #: runs the server
    created_at: str


@dataclass(frozen=True, kw_only=True)
class UsersDocument(Document):
    """All users, by name."""

    users: list[UserDocument]


@dataclass(frozen=True, kw_only=True)
class CreatedUserDocument(Document):
    """A new token, shown this once."""

    user: str
    token: str


@dataclass(frozen=True, kw_only=True)
class RevokedDocument(Document):
    """Whose token is worthless now."""

    revoked: str


def accounts_api(accounts: Accounts, users: Users, owner: str) -> APIRouter:
    """Return the routes for accounts; they are for the user who runs the server."""
    api = APIRouter(prefix="/api/v1", dependencies=[Depends(users)])

    @api.get("/users")
    def list_users(request: Request) -> UsersDocument:
        caller_of(request).check_admin("the list of users")
        return UsersDocument(users=[_view(user, owner) for user in accounts.list()])

    @api.post("/users", status_code=201)
    def create(new: NewUser, request: Request) -> CreatedUserDocument:
        caller_of(request).check_admin("making users")
        return CreatedUserDocument(user=new.name, token=accounts.create(new.name))

    @api.delete("/users/{name}")
    def revoke(name: str, request: Request) -> RevokedDocument:
        caller_of(request).check_admin("revoking tokens")
        accounts.revoke(name)
        return RevokedDocument(revoked=name)

    return api


def _view(user: User, owner: str) -> UserDocument:
    return UserDocument(
        user=user.name,
        is_active=user.is_active,
        is_admin=user.name == owner,
        created_at=at_text(user.created_us),
    )
