"""The driver of one gang: a job on the head that reserves machines and starts an agent on each.

It is a client of our agent API. No secret comes to it through Ray, whose API shows entrypoints and variables to whoever
may read it: it makes up one of its own and writes only its SHA-256 to its log, where the server, which alone knows
which job it has submitted, finds it through Ray's API. With that it gets the token that it hands to the agents.

Orders and reports are whole every time, so a lost one loses nothing. It ends when its gang has been released and the
agents have ended, or when the server knows the attempt no longer; Ray then takes the machines back. Should it die, Ray
ends its actors, and they take their agents along.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.client.http import Http
from opengrid.core.codec import from_json, to_json
from opengrid.core.errors import GridError, Superseded
from opengrid.core.protocol import POLL_S, GangOrders, GangReport, Ticket
from opengrid.engines.ray.inside.gang import Gang, OtherVersion, join_cluster
from opengrid.engines.ray.inside.marks import NEVER, PROOF

_LOOK_S = 0.2

#: A gang of which nothing runs is nobody's, when the server has been away for so long: its machines are given back.
_FORGOTTEN_S = 3600.0
_LONGEST_PAUSE_S = 2.0


def main(arguments: Sequence[str]) -> int:
    """`DIGEST SERVER ATTEMPT WORK_DIR BUNDLES`, all of them shown by Ray's API; the digest is the program's."""
    digest, server, attempt, work_dir, text = arguments
    bundles: list[dict[str, float]] = json.loads(text)
    secret = secrets.token_hex(32)
    print(f"{PROOF}{hashlib.sha256(secret.encode()).hexdigest()}", flush=True)
    pem = os.environ.get("OPENGRID_CERTIFICATE")
    api = _Server(server, attempt, secret, _file(pem))
    api.start()
    try:
        join_cluster()
    except OtherVersion as error:
        print(error, file=sys.stderr, flush=True)
        return NEVER
    orders = api.newest(wait=True)  # they came meanwhile
    if orders is None:
        return 0
    agents = _Agents(attempt=attempt, url=server, digest=digest, pem=pem, state_dir=os.path.join(work_dir, "agents"))
    return _Driver(api, Gang(bundles), agents, len(bundles)).run(orders)


@dataclass(frozen=True)
class _Agents:
    """What all agents of the gang are started with."""

    attempt: str
    url: str
    digest: str  #: of the program
    pem: str | None
    state_dir: str


class _Driver:
    def __init__(self, api: _Server, gang: Gang, agents: _Agents, size: int) -> None:
        self._api, self._gang, self._agents = api, gang, agents
        self._started = [0] * size
        self._gone: list[str | None] = [None] * size
        self._told: tuple[GangReport, str] | None = None  #: under which orders

    def run(self, orders: GangOrders | None) -> int:
        try:
            while orders is not None and not self._is_over(orders) and not self._is_forgotten():
                reason, placed = "", self._gang.is_placed()
                if not placed:
                    reason = self._gang.why_waiting()
                elif not orders.released:
                    self._start(orders)
                for ended in self._gang.ended(_LOOK_S):
                    self._gone[ended.machine] = ended.words
                started, gone = tuple(self._started), tuple(self._gone)
                self._report(GangReport(started=started, gone=gone, placed=placed, reason=reason), orders)
                orders = self._api.newest()
        finally:
            self._gang.close()
        return 0

    def _start(self, orders: GangOrders) -> None:
        """Start what shall have been started more often than it was."""
        agents = self._agents
        for index, times in enumerate(orders.starts):
            if times > self._started[index]:
                ticket = Ticket(
                    attempt_id=agents.attempt,
                    machine=index,
                    token=orders.token,
                    url=agents.url,
                    state_dir=agents.state_dir,
                )
                program = f"{agents.url}/agent/v1/program/{agents.digest}"
                self._gang.start(index, to_json(ticket), program, agents.digest, agents.pem)
                self._started[index], self._gone[index] = times, None

    def _is_over(self, orders: GangOrders) -> bool:
        return orders.released and self._nothing_runs()

    def _is_forgotten(self) -> bool:
        return self._api.away_s() > _FORGOTTEN_S and self._nothing_runs()

    def _nothing_runs(self) -> bool:
        return all(started == 0 or gone is not None for started, gone in zip(self._started, self._gone, strict=True))

    def _report(self, report: GangReport, orders: GangOrders) -> None:
        # Other orders come from a server that sees things otherwise: it hears again how they are, one that has just
        # started and one that now waits for a machine alike.
        if (report, orders.etag) != self._told and self._api.report(report):
            self._told = report, orders.etag


class _Server:
    """Orders come on one connection, in a thread; reports go on another."""

    def __init__(self, url: str, attempt: str, secret: str, certificate: str | None) -> None:
        self._path = f"/agent/v1/gangs/{attempt}"
        self._polls = Http(url, token=secret, certificate=certificate)
        self._reports = Http(url, token=secret, certificate=certificate)
        self._news: queue.SimpleQueue[GangOrders | None] = queue.SimpleQueue()
        self._newest: GangOrders | None = None
        self._away_since: float | None = None
        self._retry_at, self._pause_s = 0.0, 0.05

    def start(self) -> None:
        threading.Thread(target=self._poll, name="orders", daemon=True).start()

    def newest(self, *, wait: bool = False) -> GangOrders | None:
        """Return the newest orders, waiting for some if asked to; None when the attempt is over for good."""
        while wait or not self._news.empty():
            self._newest, wait = self._news.get(), False
        return self._newest

    def away_s(self) -> float:
        """Return for how long the server has not answered."""
        since = self._away_since
        return 0.0 if since is None else time.monotonic() - since

    def report(self, report: GangReport) -> bool:
        """Tell the server; False when it does not answer: the next report says as much."""
        if time.monotonic() < self._retry_at:
            return False
        try:
            self._reports.request("POST", self._path, json=to_json(report))
        except GridError as error:
            print(f"report: {error.message}", file=sys.stderr, flush=True)
            self._retry_at = time.monotonic() + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)
            return False
        self._pause_s = 0.05
        return True

    def _poll(self) -> None:
        known, pause_s, said = "", 0.05, ""
        while True:
            try:
                answer = self._polls.request("GET", self._path, query={"known": known}, timeout_s=POLL_S + 15)
                orders = from_json(GangOrders, answer.json())
            except Superseded as error:
                print(f"nothing to do any more: {error.message}", file=sys.stderr, flush=True)
                self._news.put(None)
                return
            except GridError as error:
                if error.message != said:
                    print(f"orders: {error.message}; trying again", file=sys.stderr, flush=True)
                said, self._away_since = error.message, self._away_since or time.monotonic()
                time.sleep(pause_s)
                pause_s = min(_LONGEST_PAUSE_S, pause_s * 2)
                continue
            known, pause_s, said, self._away_since = orders.etag, 0.05, "", None
            self._news.put(orders)


def _file(pem: str | None) -> str | None:
    if pem is None:
        return None
    path = f"/proc/self/fd/{os.memfd_create('certificate')}"  # gone with this process, however it ends
    Path(path).write_text(pem)
    return path
