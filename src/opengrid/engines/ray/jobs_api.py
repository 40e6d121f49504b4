"""Ray's REST API: jobs, and the nodes of the cluster. Stable since Ray 2.40; nothing of Ray is imported."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from opengrid.client.http import Http, Response
from opengrid.core.errors import GridError, ServerUnreachable, Unauthorized, Unusable
from opengrid.engines.engine import EngineAway
from opengrid.engines.ray.inside.marks import NEVER

#: The oldest Ray whose API is as it is read here.
OLDEST = (2, 40)

#: Files of Ray's that tell why a node, or the head, does not do what it should.
NODE_LOGS = ("raylet.out", "raylet.err", "ray_process_exit.log")
HEAD_LOGS = ("gcs_server.out", "gcs_server.err", "dashboard.err", "monitor.log")  # dashboard.log has our own requests

_ENDED = frozenset({"STOPPED", "SUCCEEDED", "FAILED"})

#: How Ray begins the message of a job that failed.
_EXITED = re.compile(r"Job entrypoint command failed with exit code (-?[0-9]+)")

#: One call may take so long: starting a job takes a second on a loaded head.
_TIMEOUT_S = 15.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A job as Ray tells of it."""

    id: str  #: submission id
    status: str
    message: str
    entrypoint: str

    @property
    def is_over(self) -> bool:
        """Whether its driver has ended, so that Ray has taken back everything it held."""
        return self.status in _ENDED

    @property
    def has_no_interpreter(self) -> bool:
        """Whether the head's shell found no program to run the driver with."""
        return self.status == "FAILED" and self._exit_code in (126, 127)

    @property
    def cannot_run(self) -> bool:
        """Whether the same job would end alike again: its driver says so, or it has no interpreter."""
        return self.has_no_interpreter or (self.status == "FAILED" and self._exit_code == NEVER)

    @property
    def last_words(self) -> str:
        """What it wrote last, or how it ended. Its own command, which Ray writes into the same log, says neither."""
        own = {line.strip() for line in self.entrypoint.splitlines()}
        lines = [line for line in map(str.strip, self.message.splitlines()) if line and line not in own]
        last = lines[-1] if lines else ""
        return f"the driver ended with exit code {self._exit_code}" if _EXITED.match(last) else last

    @property
    def _exit_code(self) -> int | None:
        found = _EXITED.match(self.message)
        return int(found[1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RayNode:
    """A living node of the cluster."""

    id: str
    address: str
    kind: str  #: RAY_NODE_TYPE_NAME; "" when it was started without
    resources: Mapping[str, float]
    is_head: bool


class JobsApi:
    """Calls to one cluster. Not for several threads at once.

    All raise EngineAway when nobody answers, Unauthorized for a wrong token, and GridError for what Ray refuses.
    """

    def __init__(self, address: str, token: str | None, certificate: str | None = None) -> None:
        self._address, self._has_token = address, token is not None
        self._http = Http(address, token=token, certificate=certificate, timeout_s=_TIMEOUT_S)

    def version(self) -> str:
        """Return Ray's version; Unusable when it is too old, or when this is no Ray."""
        answer, version = self._call("GET", "/api/version", accept=(404, 405)), ""
        with contextlib.suppress(GridError):  # no JSON
            version = str(_mapping(answer.json()).get("ray_version", ""))
        found = re.match(r"(\d+)\.(\d+)", version)
        if found is None:
            raise Unusable(f"{self._address} is not the API of a Ray cluster", hint="its address is http://HEAD:8265")
        if (int(found[1]), int(found[2])) < OLDEST:
            oldest = ".".join(map(str, OLDEST))
            raise Unusable(
                f"{self._address} runs Ray {version}, and {oldest} or newer is needed",
                hint="all machines of a Ray cluster are upgraded together: `pip install -U 'ray[default]'` on each",
            )
        return version

    def submit(self, job: Mapping[str, object]) -> None:
        """Start a job with the `submission_id` in it. Not idempotent: Ray refuses an id that it knows."""
        self._call("POST", "/api/jobs/", json=dict(job))

    def find(self, id: str) -> Job | None:
        """Return a job, None when Ray does not know it."""
        answer = self._call("GET", f"/api/jobs/{quote(id)}", accept=(404,))
        return None if answer.status == 404 else _job(_mapping(answer.json()))

    def jobs(self) -> list[Job]:
        """Return all jobs that were submitted by this API, ended ones too."""
        found = cast("list[object]", self._call("GET", "/api/jobs/").json())
        return [_job(job) for job in map(_mapping, found) if job.get("submission_id")]

    def stop(self, id: str) -> None:
        """Ask Ray to end a job; one that has ended or that it does not know is nothing to do."""
        self._call("POST", f"/api/jobs/{quote(id)}/stop", json={}, accept=(404,))

    def delete(self, id: str) -> None:
        """Have Ray forget a job that has ended."""
        self._call("DELETE", f"/api/jobs/{quote(id)}", accept=(404,))

    def log(self, id: str) -> str:
        """Return what a job's driver has written; "" while there is nothing."""
        answer = self._call("GET", f"/api/jobs/{quote(id)}/logs", accept=(404,))
        return "" if answer.status == 404 else str(_mapping(answer.json()).get("logs") or "")

    def nodes(self) -> list[RayNode]:
        """Return the nodes that are alive."""
        answer = _mapping(self._call("GET", "/api/v0/nodes", query={"detail": "1", "limit": "10000"}).json())
        found = cast("list[object]", _mapping(_mapping(answer.get("data")).get("result")).get("result") or [])
        return [_node(node) for node in map(_mapping, found) if node.get("state") == "ALIVE"]

    def node_log(self, node_id: str, file: str, lines: int) -> list[str]:
        """Return the last lines of a file that Ray wrote on a node; none when it has no such file."""
        query = {"node_id": node_id, "filename": file, "lines": str(lines)}
        answer = self._call("GET", "/api/v0/logs/file", query=query, accept=(404, 500))
        return [] if answer.status >= 400 else answer.body.decode(errors="replace").splitlines()

    def close(self) -> None:
        """Drop the connection."""
        self._http.close()

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        json: object = None,
        accept: tuple[int, ...] = (),
    ) -> Response:
        try:
            answer = self._http.request(method, path, query=query, json=json, accept=range(400, 600))
        except ServerUnreachable as error:
            raise EngineAway(f"Ray does not answer: {error.message}") from error
        if answer.status < 400 or answer.status in accept:
            return answer
        if answer.status in (401, 403):
            refused = "refuses the token" if self._has_token else "asks for a token, and none was given"
            raise Unauthorized(
                f"{self._address} {refused}", hint="`--token-file FILE` with what RAY_AUTH_TOKEN holds there"
            )
        last = answer.body.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise GridError(f"Ray answered {method} {path} with HTTP {answer.status}: {last[0]}")


def _job(document: Mapping[str, object]) -> Job:
    return Job(
        id=str(document.get("submission_id") or ""),
        status=str(document.get("status")),
        message=str(document.get("message") or ""),
        entrypoint=str(document.get("entrypoint") or ""),
    )


def _node(document: Mapping[str, object]) -> RayNode:
    resources = {name: float(cast("float", amount)) for name, amount in _mapping(document["resources_total"]).items()}
    labels = _mapping(document.get("labels"))
    return RayNode(
        id=str(document["node_id"]),
        address=str(document["node_ip"]),
        kind=str(labels.get("ray.io/node-group") or ""),
        resources=resources,
        is_head=bool(document.get("is_head_node")),
    )


def _mapping(value: object) -> dict[str, object]:
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}
