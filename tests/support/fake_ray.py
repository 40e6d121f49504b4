"""Ray's REST API, played by the test: jobs that only exist, nodes that are said to be alive."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FakeRay:
    """Answers as Ray 2.60 does (seen there), and can be taken away."""

    def __init__(self, *, token: str | None = None, version: str = "2.60.0") -> None:
        self.token, self.version = token, version
        self.jobs: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, str] = {}
        self.nodes: list[dict[str, Any]] = []
        self.posts = 0
        self.lose_posts = 0  #: of the first so many submissions nobody hears that they succeeded
        self.port = 0
        self._http: ThreadingHTTPServer | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        fake = self

        class Handler(_Handler):
            ray = fake

        self._http = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None

    def add_node(self, address: str, **resources: float) -> None:
        self.nodes.append(
            {"node_id": address, "node_ip": address, "state": "ALIVE", "resources_total": resources, "labels": {}}
        )

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if path == "/api/version":
            return 200, {"version": "4", "ray_version": self.version}
        if path.startswith("/api/v0/nodes"):
            return 200, {"result": True, "data": {"result": {"total": len(self.nodes), "result": self.nodes}}}
        if path == "/api/jobs/" and method == "POST":
            self.posts += 1
            id = body["submission_id"]
            if id in self.jobs:
                return 500, f"Traceback …\nValueError: Job with submission_id {id} already exists."
            self.jobs[id] = {"submission_id": id, "status": "RUNNING", "message": "", "entrypoint": body["entrypoint"]}
            if self.posts <= self.lose_posts:
                return 500, "Traceback …\nTimeoutError"
            return 200, {"submission_id": id}
        if path == "/api/jobs/":
            return 200, list(self.jobs.values())
        id, _, what = path.removeprefix("/api/jobs/").partition("/")
        if id not in self.jobs:
            return 404, f"Job {id} does not exist"
        if what == "stop":
            self.jobs[id]["status"] = "STOPPED"
            return 200, {"stopped": True}
        if what == "logs":
            return 200, {"logs": self.logs.get(id, "")}
        if method == "DELETE":
            del self.jobs[id]
            return 200, {"deleted": True}
        return 200, self.jobs[id]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ray: FakeRay

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", "0"))
        body = json.loads(self.rfile.read(length)) if length else None
        if self.ray._http is None:  # gone, and with it the connections that it kept
            self.close_connection = True
            return
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.ray.token is not None and bearer != self.ray.token and self.path != "/api/version":
            status, answer = 401, "Unauthorized: Missing authentication token"
        else:
            status, answer = self.ray.answer(self.command, self.path, body)
        content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _serve

    def log_message(self, format: str, *args: object) -> None:
        pass
