"""The server itself, who asks it, users and secrets."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from opengrid.client.calls.calls import Calls

if TYPE_CHECKING:
    from opengrid.client.documents import (
        SecretDocument,
        ServerDocument,
        SessionDocument,
        SignInLinkDocument,
        UserDocument,
    )


class AccountCalls(Calls):
    """The server itself, who asks it, users and secrets."""

    def server(self) -> ServerDocument:
        """Return what the server says about itself."""
        return cast("ServerDocument", self._get("/api/v1/server"))

    def sign_in_link(self, path: str = "/") -> SignInLinkDocument:
        """Return a link that signs one browser in, once, and leads to a page."""
        return cast("SignInLinkDocument", self._post("/api/v1/sign-in-links", {"path": path}))

    def session(self) -> SessionDocument:
        """Return who asks, as the server knows them."""
        return cast("SessionDocument", self._get("/api/v1/session"))

    def users(self) -> list[UserDocument]:
        """Return all users, by name; for the server's own user."""
        return cast("list[UserDocument]", self._get("/api/v1/users")["users"])

    def create_user(self, name: str) -> str:
        """Make an account; return its token, which nobody can ask for again."""
        return cast("str", self._post("/api/v1/users", {"name": name})["token"])

    def revoke_user(self, name: str) -> None:
        """Make a user's token worthless."""
        self._transport.request("DELETE", f"/api/v1/users/{name}")

    def set_secret(self, name: str, value: str) -> None:
        """Store or replace a secret."""
        self._transport.request("PUT", f"/api/v1/secrets/{quote(name, safe='')}", json={"value": value})

    def secrets(self) -> list[SecretDocument]:
        """Return the names of one's own secrets."""
        return cast("list[SecretDocument]", self._get("/api/v1/secrets")["secrets"])

    def delete_secret(self, name: str) -> None:
        """Forget a secret."""
        self._transport.request("DELETE", f"/api/v1/secrets/{quote(name, safe='')}")
