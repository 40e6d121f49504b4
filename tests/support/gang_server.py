"""A server of one attempt, played by the test: the agent API over real sockets. It can be killed, and lose answers."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit

from opengrid.core.codec import from_json, to_json
from opengrid.core.errors import GridError, InvalidValue, NotFound, Superseded, Unauthorized
from opengrid.core.protocol import (
    ArtifactFile,
    Artifacts,
    Assignment,
    Desired,
    Fact,
    Facts,
    GangOrders,
    GangReport,
    Hello,
    Phase,
    Restore,
    Stacks,
    Stop,
    Wanted,
)
from opengrid.engines.ray.engine import RayEngine
from opengrid.services.claims import Claims

#: Generous: the machine may be loaded.
DEADLINE_S = 60.0

F = TypeVar("F")


class GangServer:
    """Stores what agents tell; `tell` changes what they shall be. Its address is in `server_file`."""

    def __init__(self, folder: Path, token: str = "ticket-token") -> None:
        self.token = token
        self.server_file = folder / "server.json"
        self.assignments: dict[int, Assignment] = {}
        self.blobs: dict[str, bytes] = {}
        self.sessions: dict[str, int] = {}
        self.hellos: list[Hello] = []
        self.desired: dict[int, Desired] = {}
        self.facts: dict[int, list[Fact]] = {}
        self.messages: list[tuple[int, Facts]] = []
        self.logs: dict[tuple[int, int, int, str], bytearray] = {}
        self.index: dict[tuple[int, int, int, str], list[tuple[int, int]]] = {}
        self.events: dict[tuple[int, str], bytearray] = {}  #: event files by node and path
        self.events_of: dict[tuple[int, str], int] = {}  #: in which generation an agent first saw them
        self.samples: dict[tuple[int, int], bytearray] = {}  #: by machine and generation
        self.refuse_events: GridError | None = None
        self.stacks: list[tuple[int, Stacks]] = []  #: with the machine that sent them
        self.contents: dict[str, bytes] = {}
        self.claims = Claims(clock=lambda: 0.0)  # as if all took no time: a busy computer makes nobody lose patience
        self.offered: set[str] = set()  #: digests of contents
        self.received: list[str] = []  #: digests of contents, once for each time that one came
        self.artifacts: dict[tuple[int, str], ArtifactFile] = {}  #: by node and path
        self.restores: dict[int, Restore] = {}  #: by generation
        self.refuse_contents: GridError | None = None
        self.is_superseded = False
        self.lose: dict[str, int] = {}  #: word in a path → number of answers that get lost on the way
        self.changed = threading.Condition()
        self.drivers: Drivers | None = None
        self._http: _Http | None = None

    def add(self, assignment: Assignment) -> None:
        """Expect an agent."""
        self.assignments[assignment.machine] = assignment
        self.desired[assignment.machine] = Desired(version=1, generation=0, phase=Phase.WAIT)
        self.facts[assignment.machine] = []

    def start(self) -> None:
        """Listen on a new port and say so."""
        self._http = _Http(("127.0.0.1", 0), _Handler)
        self._http.gang = self
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        self.server_file.write_text(json.dumps({"url": f"http://127.0.0.1:{self._http.server_port}"}))

    def kill(self) -> None:
        """End as after kill -9: connections break in the middle, the address stays written."""
        if self._http is not None:
            http, self._http = self._http, None
            http.is_dead = True
            http.shutdown()
            http.server_close()
            for connection in http.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            with self.changed:
                self.changed.notify_all()

    def tell(self, generation: int, phase: Phase, *, machine: int | None = None, **more: object) -> None:
        """Change what machines shall be; all of them unless one is named."""
        with self.changed:
            for index in self.desired if machine is None else (machine,):
                version = self.desired[index].version + 1
                self.desired[index] = replace(
                    Desired(version=version, generation=generation, phase=phase, flush_interval_s=0.1),
                    **more,  # pyright: ignore[reportArgumentType]
                )
            self.changed.notify_all()

    def stop_ranks(self, generation: int, *, terminate: bool, grace_s: float) -> None:
        """Have the ranks ended."""
        self.tell(generation, Phase.STOP, stop=Stop(terminate=terminate, grace_s=grace_s))

    def until(self, condition: Callable[[], bool], what: str = "") -> None:
        """Wait until something is true of what agents have told."""
        deadline = time.monotonic() + DEADLINE_S
        with self.changed:
            while not condition():
                left = deadline - time.monotonic()
                assert left > 0, f"{what or 'condition'}: not in time; {self.facts}"
                self.changed.wait(min(left, 0.1))

    def of(self, kind: type[F], machine: int | None = None) -> list[F]:
        """Return the facts of one kind, in order."""
        machines = self.facts if machine is None else (machine,)
        return [fact for index in machines for fact in self.facts[index] if isinstance(fact, kind)]

    def text(self, rank: int, stream: str = "stdout", *, machine: int = 0, generation: int = 1) -> bytes:
        """Return what has arrived of a rank's output."""
        return bytes(self.logs.get((machine, generation, rank, stream), b""))

    def artifact(self, path: str, node: int = 0) -> bytes | None:
        """Return the content of a file that was collected."""
        file = self.artifacts.get((node, path))
        return None if file is None else self.contents[file.sha256]

    def forget(self, machine: int) -> None:
        """Expect another agent for a machine whose agent died."""
        self.sessions = {session: known for session, known in self.sessions.items() if known != machine}
        self.facts[machine] = []

    # What agents ask

    def hello(self, hello: Hello, token: str) -> Assignment:
        if token != self.token:
            raise Unauthorized("unknown token")
        if self.is_superseded:
            raise Superseded("over")
        known = {machine: session for session, machine in self.sessions.items()}
        if known.setdefault(hello.machine, hello.session) != hello.session:
            raise Unauthorized("the token has been used")
        self.sessions[hello.session] = hello.machine
        self.hellos.append(hello)
        return replace(self.assignments[hello.machine], now_ns=time.time_ns())

    def poll(self, machine: int, version: int, is_dead: Callable[[], bool]) -> Desired:
        self.changed.wait_for(lambda: self.desired[machine].version > version or is_dead(), timeout=5)
        return replace(self.desired[machine], now_ns=time.time_ns())

    def take(self, machine: int, message: Facts) -> int:
        self.messages.append((machine, message))
        told = self.facts[machine]
        assert message.first <= len(told) + 1, "a fact is missing"
        for number, fact in enumerate(message.facts, message.first):
            if number > len(told):
                told.append(fact)
        return len(told)

    def offer(self, machine: int, files: tuple[ArtifactFile, ...], staging: str | None) -> Wanted:
        for staged in Path(staging).iterdir() if staging is not None else ():
            self.receive(staged.name, staged.read_bytes())
            staged.unlink()
        self.artifacts.update({(file.node, file.path): file for file in files if file.sha256 in self.contents})
        self.offered |= {file.sha256 for file in files}
        missing = {file.sha256 for file in files} - self.contents.keys()
        coming = self.claims.claim("attempt", machine, missing)
        return Wanted(contents=tuple(missing - coming), coming=tuple(coming))

    def receive(self, digest: str, content: bytes) -> None:
        if self.refuse_contents is not None:
            raise self.refuse_contents
        if hashlib.sha256(content).hexdigest() != digest:
            raise InvalidValue("another content")
        self.contents[digest] = content
        self.received.append(digest)

    def append_events(self, node: int, query: dict[str, str], data: bytes) -> tuple[int, bool]:
        if self.refuse_events is not None:
            raise self.refuse_events
        file = self.events.setdefault((node, query["path"]), bytearray())
        if len(file) != int(query["offset"]):
            return len(file), False
        self.events_of.setdefault((node, query["path"]), int(query["generation"]))
        file += data
        return len(file), True

    def append(self, key: tuple[int, int, int, str], offset: int, data: bytes, index: str) -> tuple[int, bool]:
        log = self.logs.setdefault(key, bytearray())
        if len(log) != offset:
            return len(log), False
        log += data
        pairs = [(int(o), int(ns)) for o, ns in (pair.split(":") for pair in index.split(",") if pair)]
        assert all(offset <= o < offset + len(data) for o, _ in pairs)
        self.index.setdefault(key, []).extend(pairs)
        return len(log), True


class Drivers:
    """What the server knows of drivers inside a cluster, for an engine under test."""

    def __init__(self, engine: RayEngine, program: Path, machines: int) -> None:
        self.engine, self.program, self._machines = engine, program, machines
        self.known: dict[str, str] = {}
        self.over: set[str] = set()

    def check(self, attempt: str, secret: str) -> None:
        """Let the driver of an attempt pass, as the cluster knows it."""
        if attempt in self.over:
            raise Superseded("over")
        if self.known.get(attempt) != secret:
            if not self.engine.is_driver(attempt, hashlib.sha256(secret.encode()).hexdigest()):
                raise Unauthorized("not known yet")
            self.known[attempt] = secret

    def orders(self, attempt: str, token: str) -> GangOrders:
        """Return what a driver shall do."""
        starts, is_told = self.engine.starts(attempt, self._machines), self.engine.has_report(attempt)
        return GangOrders(etag=f"{starts} {is_told}", starts=starts, released=False, token=token, is_told=is_told)


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    gang: GangServer
    is_dead = False

    def __init__(self, *arguments: object) -> None:
        self.connections: list[socket.socket] = []
        super().__init__(*arguments)  # pyright: ignore[reportArgumentType]

    def get_request(self) -> tuple[socket.socket, object]:
        connection, address = super().get_request()
        self.connections.append(connection)
        return connection, address

    def handle_error(self, request: object, client_address: object) -> None:
        if not self.is_dead:
            super().handle_error(request, client_address)  # pyright: ignore[reportArgumentType]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def do_PUT(self) -> None:
        self._serve()

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        server: _Http = self.server  # type: ignore[assignment]
        gang = server.gang
        with gang.changed:
            try:
                status, answer = self._answer(server, gang, body)
            except GridError as error:
                status, answer = error.status, json.dumps(error.to_wire()).encode()
            gang.changed.notify_all()
            word = next((word for word, times in gang.lose.items() if word in self.path and times > 0), None)
            if word is not None:
                gang.lose[word] -= 1
        if word is not None or server.is_dead:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def _answer(self, server: _Http, gang: GangServer, body: bytes) -> tuple[int, bytes]:
        if server.is_dead:
            return 500, b""
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        _, _, _, what, *rest = url.path.split("/")
        bearer = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if what == "gangs" or what == "program":
            return 200, self._driven(gang, what, rest, query.get("known", ""), bearer, body)
        if what == "hello":
            return 200, _json(gang.hello(from_json(Hello, json.loads(body)), bearer))
        machine = gang.sessions.get(bearer)
        if machine is None or gang.is_superseded:
            raise Superseded("no attempt knows this session")
        if what == "desired":
            desired = gang.poll(machine, int(query["version"]), lambda: server.is_dead or gang.is_superseded)
            if gang.is_superseded:
                raise Superseded("a newer attempt exists")
            return 200, _json(desired)
        if what == "facts":
            return 200, _json({"number": gang.take(machine, from_json(Facts, json.loads(body)))})
        if what == "logs":
            key = (machine, int(rest[0]), int(rest[1]), rest[2])
            size, fits = gang.append(key, int(query["offset"]), body, self.headers.get("Grid-Log-Index", ""))
            return (200 if fits else 409), _json({"size": size})
        if what == "events":
            size, fits = gang.append_events(int(rest[0]), query, body)
            return (200 if fits else 409), _json({"size": size})
        if what == "samples":
            file = gang.samples.setdefault((machine, int(rest[0])), bytearray())
            fits = len(file) == int(query["offset"])
            file += body if fits else b""
            return (200 if fits else 409), _json({"size": len(file)})
        if what == "stacks":
            gang.stacks.append((machine, from_json(Stacks, json.loads(body))))
            return 200, b"{}"
        if what == "artifacts" and not rest:
            files = from_json(Artifacts, json.loads(body)).files
            return 200, _json(gang.offer(machine, files, gang.assignments[machine].staging))
        if what == "restore":
            return 200, _json(gang.restores[int(rest[0])])
        if what == "artifacts" and self.command == "GET":
            return 200, gang.contents[rest[1]]
        if what == "artifacts":
            gang.receive(rest[1], body)
            return 201, b"{}"
        if what == "blobs" and rest[0] in gang.blobs:
            return 200, gang.blobs[rest[0]]
        raise NotFound(f"no {what} {rest}")

    def _driven(self, gang: GangServer, what: str, rest: list[str], known: str, bearer: str, body: bytes) -> bytes:
        """Answer a driver inside a cluster."""
        if gang.drivers is None:
            raise NotFound("no drivers here")
        if what == "program":
            return gang.drivers.program.read_bytes()
        attempt = rest[0]
        gang.changed.release()  # it asks the cluster
        try:
            gang.drivers.check(attempt, bearer)
        finally:
            gang.changed.acquire()
        if self.command == "POST":
            gang.drivers.engine.take_report(attempt, from_json(GangReport, json.loads(body)))
            return b"{}"
        gang.changed.wait_for(lambda: gang.drivers.orders(attempt, gang.token).etag != known, timeout=5)
        return _json(gang.drivers.orders(attempt, gang.token))

    def log_message(self, format: str, *args: object) -> None:
        pass


def _json(value: object) -> bytes:
    return json.dumps(to_json(value)).encode()
