"""A whole server inside the test's own process, without its controller: nothing that is queued is started."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.transfer import Sender, find_material
from opengrid.server.app import Server, now_us
from opengrid.server.keys import ensure_token
from opengrid.server.settings import Settings, ensure_folders
from opengrid.store.database import Database
from tests.support.bundles import bundle_of
from tests.support.grid import eventually
from tests.support.server_app import InProcess

URL = "http://127.0.0.1"


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    document: Any

    @property
    def error(self) -> str:
        """The message and hint of an error."""
        return f"{self.document['error']['message']} {self.document['error']['hint']}"


class Caller:
    """Somebody with a token."""

    def __init__(self, client: TestClient, token: str) -> None:
        self._client, self.token = client, token

    def __call__(self, method: str, path: str, /, json: object = None, **query: Any) -> Answer:
        got = self.raw(method, path, json=json, params=query)
        return Answer(got.status_code, got.json() if got.content else None)

    def raw(self, method: str, path: str, **request: Any) -> Any:
        """Return the HTTP client's own answer."""
        headers = {"Authorization": f"Bearer {self.token}", **request.pop("headers", {})}
        return self._client.request(method, f"/api/v1/{path}", headers=headers, **request)

    def send(self, digest: str, content: bytes) -> int:
        """Send a blob; return the status."""
        return self.raw("PUT", f"blobs/{digest}", content=content).status_code

    def run(self, name: str, *arguments: str, **options: Any) -> Answer:
        """Create a run of a shell script with these arguments."""
        bundle = bundle_of({"t.sh": b"#!/bin/sh\n"})
        digest = hashlib.sha256(bundle).hexdigest()
        self.send(digest, bundle)
        spec = {
            "name": name,
            "program": {"kind": "executable", "target": "./t.sh", "arguments": list(arguments)},
            "source": {"bundle": digest, "root": "/"},
            "instance_type": "2_cpu_4gb",
            **options,
        }
        return self("POST", "runs", spec)

    def datastore(self, name: str, files: Mapping[str, bytes]) -> int:
        """Create a version of a datastore; return its number."""
        client = TestClient(self._client.app, base_url=URL, headers={"Authorization": f"Bearer {self.token}"})
        api = Api(InProcess(client))
        with tempfile.TemporaryDirectory() as folder, KnownDigests(Path(folder, "journal")) as known:
            source = Path(folder, "source")
            source.mkdir()
            for path, content in files.items():
                (source / path).write_bytes(content)
            opened = api.open_datastore(name, str(source))
            return Sender(api, opened, find_material(source), known, lambda *_: None).run()["version"]


@contextmanager
def serving(home: Path, **changes: Any) -> Iterator[tuple[Caller, TestClient]]:
    """Give the server's own user, and the way to its server; `changes` are fields of its settings."""
    settings = Settings(**{"home": home, "state": home, "cache": home / "cache", **changes})
    ensure_folders(settings)
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    try:
        ensure_token(settings, database, now_us=now_us)
        server = Server(settings, database, URL, stop=lambda: None)
        client = TestClient(server.app, base_url=URL, raise_server_exceptions=False)
        yield Caller(client, settings.token_file.read_text()), client
        server.close()
    finally:
        database.close()


@dataclass(frozen=True)
class Listening:
    """A server that answers on a port of this computer, in a thread of the test."""

    url: str
    token: str
    database: Database


@contextmanager
def listening(home: Path) -> Iterator[Listening]:
    """Serve over real connections, with everything that a server does."""
    settings = Settings(home=home, state=home, cache=home / "cache")
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    ensure_token(settings, database, now_us=now_us)
    server = Server(settings, database, URL, stop=lambda: None)
    http = uvicorn.Server(uvicorn.Config(server.app, port=0, log_config=None, timeout_graceful_shutdown=3))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_until_complete, args=(http.serve(),), daemon=True)
    thread.start()
    try:
        eventually(lambda: http.started)
        port = http.servers[0].sockets[0].getsockname()[1]
        yield Listening(f"{URL}:{port}", settings.token_file.read_text(), database)
    finally:
        loop.call_soon_threadsafe(server.begin_shutdown)
        http.should_exit = True
        thread.join(30)
        left = asyncio.all_tasks(loop)
        loop.close()
        assert not left, "a server that has ended leaves no task"
        database.close()
