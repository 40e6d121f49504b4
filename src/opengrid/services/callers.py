"""Who asks, and what of others' they may change."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.core.errors import Forbidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A user who sends a request. Everybody with an account may look; only owners and the admin may change."""

    name: str
    is_admin: bool  #: the user who runs the server

    def may_change(self, owner: str) -> bool:
        """Whether the caller may change, or see secrets of, what belongs to `owner`."""
        return self.is_admin or self.name == owner

    def check(self, owner: str, what: str) -> None:
        """Raise Forbidden when `what` belongs to somebody else."""
        if not self.may_change(owner):
            raise Forbidden(f"{what} belongs to {owner}", hint=f"{owner} can do that, or whoever runs the server")

    def check_admin(self, what: str) -> None:
        """Raise Forbidden unless the caller is the admin; `what` is said to be the admin's."""
        if not self.is_admin:
            raise Forbidden(f"{what} is for the user who runs the server", hint="ask them")
