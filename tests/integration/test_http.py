"""The HTTP client against real sockets."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from opengrid.client.http import Http
from opengrid.core.errors import Conflict, GridError, InvalidValue, ServerUnreachable


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        if self.path == "/connections":
            self._answer(200, str(self.server.connections).encode())  # type: ignore[attr-defined]
        elif self.path == "/chunks":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for piece in (b"one ", b"two ", b"three"):
                self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        elif self.path == "/close-after":
            self._answer(200, b"bye")
            self.close_connection = True  # without saying so, as a server that ends idle connections
        elif self.path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "10")
            self.end_headers()
            self.wfile.write(b"only")
            self.close_connection = True
        elif self.path == "/conflict":
            self._answer(409, b'{"error":{"code":"conflict","message":"taken","hint":"another"}}')
        elif self.path == "/teapot":
            self._answer(418, b"<html>")
        else:
            self._answer(200, f"{self.path} {self.headers.get('Authorization')}".encode(), X_Kind="echo")

    def do_PUT(self) -> None:
        self._answer(201, self.rfile.read(int(self.headers["Content-Length"]))[::-1])

    def do_POST(self) -> None:
        self.do_PUT()

    def log_message(self, format: str, *args: object) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0

    def get_request(self) -> tuple[socket.socket, object]:
        self.connections += 1
        return super().get_request()


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def http(server: _Server) -> Iterator[Http]:
    http = Http(f"http://127.0.0.1:{server.server_port}", token="s3cret")
    yield http
    http.close()


def test_a_request_carries_token_and_query_and_returns_the_answer(http: Http) -> None:
    response = http.request("GET", "/a b", query={"x": 1, "none": None, "y": "ü&"})
    assert response.status == 200
    assert response.body == b"/a%20b?x=1&y=%C3%BC%26 Bearer s3cret"
    assert response.headers["x-kind"] == "echo"


def test_requests_share_one_connection(http: Http) -> None:
    for _ in range(5):
        http.request("GET", "/connections")
    assert http.request("GET", "/connections").body == b"1"


def test_a_connection_closed_by_the_server_is_replaced_without_a_word(http: Http) -> None:
    for method in ("GET", "POST", "PUT"):
        http.request("GET", "/close-after")
        assert http.request(method, "/", body=None if method == "GET" else b"abc").status in (200, 201)


def test_a_body_is_sent_from_bytes_json_or_a_files_position(http: Http) -> None:
    assert http.request("PUT", "/", body=b"abc").body == b"cba"
    assert http.request("POST", "/", json={"a": 1}).body == b'{"a": 1}'[::-1]
    file = io.BytesIO(b"skipped" + b"x" * 200_000)
    file.seek(7)
    assert http.request("PUT", "/", body=file).body == b"x" * 200_000


def test_the_servers_error_comes_back_as_itself(http: Http) -> None:
    with pytest.raises(Conflict) as caught:
        http.request("GET", "/conflict")
    assert (caught.value.message, caught.value.hint) == ("taken", "another")
    with pytest.raises(GridError, match="HTTP 418"):
        http.request("GET", "/teapot")
    assert http.request("GET", "/teapot", accept=(418,)).status == 418


def test_chunks_are_put_together_and_streams_pass_them_on(http: Http) -> None:
    assert http.request("GET", "/chunks").body == b"one two three"
    with http.stream("GET", "/chunks") as blocks:
        assert b"".join(blocks) == b"one two three"
    with pytest.raises(Conflict), http.stream("GET", "/conflict"):
        pass


def test_an_answer_cut_short_is_no_answer(http: Http) -> None:
    with pytest.raises(ServerUnreachable, match="6 bytes early"):
        http.request("GET", "/short")


def test_nobody_there_and_nobody_answering_are_the_same_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(ServerUnreachable, match="did not answer within"):
            Http(url, timeout_s=0.1).request("GET", "/")
    with pytest.raises(ServerUnreachable, match="refused"):
        Http(url).request("GET", "/")


def test_a_foreign_program_on_the_port_is_named_as_such() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            with listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-x\r\n")

        thread = threading.Thread(target=greet, daemon=True)
        thread.start()
        with pytest.raises(ServerUnreachable, match="does not speak HTTP"):
            Http(f"http://127.0.0.1:{listener.getsockname()[1]}").request("GET", "/")
        thread.join(10)


def test_an_environment_full_of_proxies_does_not_reach_loopback(
    server: _Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert Http(f"http://localhost:{server.server_port}").request("GET", "/").status == 200


def test_a_line_break_cannot_be_smuggled_into_a_request(http: Http) -> None:
    with pytest.raises(ValueError, match="line break"):
        http.request("GET", "/", headers={"X": "a\r\nHost: evil"})


@pytest.mark.parametrize("url", ["", "ftp://x", "http://", "http://x:port", "localhost:80"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(InvalidValue):
        Http(url)
