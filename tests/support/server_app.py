"""A server's whole application in this process, and the user API's client on it."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from fastapi.testclient import TestClient

from opengrid.client.api import Api
from opengrid.client.http import Query, Response
from opengrid.core.errors import ServerUnreachable, error_from_wire
from opengrid.server.app import Server, now_us
from opengrid.server.keys import ensure_token
from opengrid.server.settings import Settings
from opengrid.store.database import Database

URL = "http://127.0.0.1"


class InProcess:
    """Carries requests to an application. The next `lost` answers do not come back; `killed_at` ends it for good."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.asked: list[tuple[str, str]] = []
        self.sent = 0  #: bytes of bodies that were no JSON
        self.lost = 0
        self.killed_at: int | None = None

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: bytes | BinaryIO | None = None,
        json: object = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        accept: Collection[int] = (),
    ) -> Response:
        self.asked.append((method, path))
        if self.killed_at is not None and len(self.asked) > self.killed_at:
            raise KeyboardInterrupt
        content = body if body is None or isinstance(body, bytes) else body.read()
        self.sent += len(content or b"")
        params = {name: value for name, value in (query or {}).items() if value is not None}
        answer = self.client.request(method, path, params=params, content=content, json=json, headers=headers)
        if self.lost:
            self.lost -= 1
            raise ServerUnreachable("the connection was cut")
        if not answer.is_success and answer.status_code not in accept:
            raise error_from_wire(answer.status_code, answer.json())
        return Response(status=answer.status_code, headers=dict(answer.headers), body=answer.content)

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Generator[Iterator[bytes]]:
        yield iter([self.request(method, path, query=query, headers=headers).body])


@contextmanager
def running_app(
    folder: Path, storage: str | None = None, least_free: int = 2 << 30
) -> Iterator[tuple[Api, InProcess, Server]]:
    """Serve a home in `folder`; everything of a server but the socket."""
    settings = Settings(home=folder, state=folder, cache=folder / "cache", storage=storage, least_free=least_free)
    database = Database.open(f"sqlite:///{folder / 'grid.db'}")
    ensure_token(settings, database, now_us=now_us)
    server = Server(settings, database, URL, stop=lambda: None)
    with TestClient(server.app, base_url=URL, raise_server_exceptions=False) as client:
        client.headers["Authorization"] = f"Bearer {(folder / 'token').read_text()}"
        transport = InProcess(client)
        yield Api(transport), transport, server
    database.close()
