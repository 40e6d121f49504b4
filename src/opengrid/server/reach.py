"""How machines and people elsewhere reach this server."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

from fastapi import Request

from opengrid.core.network import address_towards
from opengrid.engines.ray.render import Home
from opengrid.server.settings import Settings


class Reach:
    """This server as clusters see it."""

    def __init__(self, settings: Settings, url: str) -> None:
        self._settings, self._url = settings, url

    def home_for(self, cluster: str) -> Home:
        """Return how the machines near a cluster's address call this server."""
        settings = self._settings
        if settings.public_url is not None:
            return Home(url=settings.public_url.rstrip("/"), certificate=None)  # what stands before us has its own
        pem = settings.tls_cert.read_text() if settings.tls_cert is not None else None
        if not settings.is_everywhere:
            return Home(url=self._url, certificate=pem)
        address = address_towards(urlsplit(cluster).hostname or "")
        host = f"[{address}]" if ":" in address else address
        return Home(url=f"{settings.scheme}://{host}:{urlsplit(self._url).port}", certificate=pem)

    def address_for(self, request: Request) -> str:
        """Return the address for links to whoever sends a request: the public one, else the one that they use."""
        # It works for them, where this computer's own name may be known to nobody. Only `host_names` come so far.
        return (self._settings.public_url or f"{request.url.scheme}://{request.url.netloc}").rstrip("/")

    def line_for(self, cluster: str) -> str | None:
        """Return what to type before a cluster can be added; None when its machines can reach this server already.

        A Ray that runs on this very computer can, as long as it has no other machines.
        """
        if address_towards(urlsplit(cluster).hostname or "").startswith("127."):
            return None
        return self.line()

    def line(self) -> str | None:
        """Return what to type before other computers reach this server; None when they do."""
        if self._settings.public_url is not None or not self._settings.is_loopback:
            return None
        return (
            "`grid server stop`, then `grid server start --listen 0.0.0.0:8285 --tls-cert FILE --tls-key FILE` "
            "(or --insecure on a network that you trust)"
        )


def host_names(settings: Settings) -> set[str]:
    """Return the names by which a request may call this server, beside addresses."""
    names = {"127.0.0.1", "localhost", "::1", settings.host, socket.gethostname()}
    if settings.public_url:
        names.add(urlsplit(settings.public_url).hostname or "")
    return names
