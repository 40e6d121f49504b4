"""Requests to a server that somebody has signed in to, over its restarts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from opengrid import __version__
from opengrid.client.elsewhere import Elsewhere
from opengrid.client.login import Login
from opengrid.core.errors import ServerUnreachable, Unauthorized


class Handler(BaseHTTPRequestHandler):
    """Answers everybody who has the token."""

    version_told = __version__

    def do_GET(self) -> None:
        known = self.headers["Authorization"] == "Bearer secret"
        body = b'{"ok": true}' if known else b'{"error": {"code": "unauthorized", "message": "unknown", "hint": null}}'
        self.send_response(200 if known else 401)
        self.send_header("Grid-Version", self.version_told)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def serve(port: int = 0) -> ThreadingHTTPServer:
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    return server


def end(server: ThreadingHTTPServer) -> int:
    server.shutdown()
    server.server_close()
    return server.server_port


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    server = serve()
    yield server
    end(server)


def elsewhere(server: ThreadingHTTPServer, said: list[str], token: str = "secret") -> Elsewhere:
    login = Login(url=f"http://127.0.0.1:{server.server_port}", token=token)
    return Elsewhere(login, tell=said.append)


def test_a_server_that_is_started_anew_is_waited_for() -> None:
    server, said = serve(), list[str]()
    client = elsewhere(server, said)
    client.request("GET", "/x")
    port = end(server)
    back = threading.Timer(0.5, lambda: started.append(serve(port)))
    started: list[ThreadingHTTPServer] = []
    back.start()
    assert client.request("GET", "/x").json() == {"ok": True}
    back.join()
    end(started[0])


def test_what_may_not_be_repeated_and_who_never_answered_is_not_waited_for() -> None:
    server = serve()
    client = elsewhere(server, [])
    client.request("GET", "/x")
    end(server)
    with pytest.raises(ServerUnreachable, match="no server answers"):
        client.request("POST", "/x", json={})
    with pytest.raises(ServerUnreachable, match="no server answers") as caught:
        elsewhere(server, []).request("GET", "/x")
    assert caught.value.hint is not None
    assert "grid logout" in caught.value.hint


def test_another_version_is_said_once_and_a_wrong_token_at_once(server: ThreadingHTTPServer) -> None:
    said: list[str] = []
    client = elsewhere(server, said)
    client.request("GET", "/x")
    assert said == []
    Handler.version_told = "9.9.9"
    try:
        for _ in range(2):
            client.request("GET", "/x")
    finally:
        Handler.version_told = __version__
    assert len(said) == 1
    assert "is version 9.9.9" in said[0]
    with pytest.raises(Unauthorized):
        elsewhere(server, [], token="wrong").request("GET", "/x")
