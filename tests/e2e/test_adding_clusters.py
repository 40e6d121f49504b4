"""`grid clusters add` and what it refuses, in words; the Ray is played by the test."""

from __future__ import annotations

import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.certificate import certificate
from tests.support.fake_ray import FakeRay
from tests.support.grid import Grid

TOKEN = "a" * 48


@pytest.fixture
def ray() -> Iterator[FakeRay]:
    fake = FakeRay(token=TOKEN)
    fake.start()
    fake.add_node("10.0.0.5", CPU=8.0, GPU=4.0)
    yield fake
    fake.stop()


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Ports of something that is no Ray: without TLS, and with a certificate of its own."""
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Nothing) for _ in range(2)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate(tmp_path))
    servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True)
    for server in servers:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield servers[0].server_port, servers[1].server_port
    for server in servers:
        server.shutdown()
        server.server_close()


class Nothing(http.server.BaseHTTPRequestHandler):
    """Has no page at all."""

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def refused(grid: Grid) -> Callable[..., None]:
    """See that a cluster is not added, with these words."""

    def see(address: str, token: str | None, *words: str) -> None:
        options = ("--token-file", token) if token is not None else ()
        done = grid.call("clusters", "add", "lab", "--address", address, *options)
        assert (done.code, [word for word in words if word not in done.err]) == (2, []), done

    return see


def test_a_token_that_is_none_is_named(grid: Grid, ray: FakeRay, refused: Callable[..., None]) -> None:
    for name, content in (("empty", b"\n"), ("binary", b"\xff\xfe"), ("two", b"a b"), ("wrong", b"b" * 48)):
        (grid.cwd / name).write_bytes(content)
    refused(ray.address, None, "asks for a token, and none was given", "--token-file FILE")
    refused(ray.address, "wrong", "refuses the token")
    refused(ray.address, "absent", "--token-file absent cannot be read: No such file")
    refused(ray.address, "empty", "--token-file empty is empty")
    refused(ray.address, "binary", "--token-file binary is no text")
    refused(ray.address, "two", "--token-file two holds more than a token")


def test_a_token_that_others_can_read_is_taken_and_that_is_said(grid: Grid, ray: FakeRay) -> None:
    token = grid.cwd / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    add = ("clusters", "add", "lab", "--address", ray.address, "--token-file", "token")
    done = grid.call(*add)
    assert (done.code, "others on this computer can read token: `chmod 600 token`" in done.err) == (0, True), done
    grid.ok("clusters", "remove", "lab")
    token.chmod(0o600)
    assert "note:" not in grid.call(*add).err
    (grid.cwd / "train.py").write_text("")
    size = ("--instance_type", "4_v100_16gb", "--gpus", "4")
    assert "1 × 4_v100_16gb (on 4 GPUs of lab)" in grid.ok("run", "--dry_run", "--cluster", "lab", *size, "train.py")


def test_an_address_that_is_no_ray_is_refused_with_what_to_look_at(
    grid: Grid, ray: FakeRay, web: tuple[int, int], refused: Callable[..., None]
) -> None:
    plain, tls = web
    refused(f"http://127.0.0.1:{plain}", None, "is not the API of a Ray cluster", "http://HEAD:8265")
    refused(f"https://127.0.0.1:{ray.port}", None, f"there is no TLS: http://127.0.0.1:{ray.port}")
    refused(f"http://127.0.0.1:{tls}", None, f"is there TLS? https://127.0.0.1:{tls}")
    refused(f"https://127.0.0.1:{tls}", None, "SSL_CERT_FILE, where the server is started")
    refused("http://127.0.0.1:99999", None, "is no address", "http://HEAD:8265")
