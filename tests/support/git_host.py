"""A git host of its own: https on loopback, a password for everything, and git's own http-backend behind it."""

from __future__ import annotations

import base64
import os
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.certificate import certificate


class GitHost(ThreadingHTTPServer):
    """Serves the repositories below a folder to whoever sends the token; looks for it where it must not be."""

    daemon_threads = True

    def __init__(self, root: Path, token: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root, self.token = root, token
        self.served = 0  #: requests that had the token
        self.told: list[str] = []  #: command lines of this computer that held it
        self.certificate, key = certificate(root, "DNS:localhost")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, key)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"https://localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: GitHost

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _answer(self) -> None:
        self.server.told += _command_lines_with(self.server.token)
        if _password(self.headers.get("Authorization", "")) != self.server.token:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.server.served += 1
        head, _, body = self._backend().partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        self.send_response(next((int(value[:3]) for name, value in fields if name == "Status"), 200))
        for name, value in fields:
            if name != "Status":
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _backend(self) -> bytes:
        path, _, query = self.path.partition("?")
        variables = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        sent = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        backend = ["git", "http-backend"]
        return subprocess.run(backend, env=variables, input=sent, check=True, capture_output=True, timeout=60).stdout


def _password(header: str) -> str:
    kind, _, encoded = header.partition(" ")
    return base64.b64decode(encoded).decode().partition(":")[2] if kind == "Basic" else ""


def _command_lines_with(text: str) -> list[str]:
    found: list[str] = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes()
        except OSError:
            continue
        if any(each.encode() in line for each in forms(text)):
            found.append(line.replace(b"\0", b" ").decode(errors="replace"))
    return found


def forms(token: str) -> list[str]:
    """Return a token as it may be written: as it is, and as http's Basic has it, whoever the user is."""
    # Base64 of three different beginnings: what stands before the token moves it by 0, 1 or 2 bytes.
    shifted = [base64.b64encode(f"{'x' * shift}{token}".encode()).decode().rstrip("=") for shift in range(3)]
    return [token, *(text[4:-2] for text in shifted)]


@contextmanager
def git_host(root: Path, token: str) -> Iterator[GitHost]:
    """Serve the repositories below a folder while inside."""
    host = GitHost(root, token)
    thread = threading.Thread(target=host.serve_forever, name="git host", daemon=True)
    thread.start()
    try:
        yield host
    finally:
        host.shutdown()
        host.server_close()
        thread.join()
