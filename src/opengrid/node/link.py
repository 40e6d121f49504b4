"""The agent's connection to its server: hello, the poll for the desired state, and facts until they are acknowledged.

Everything survives a server that is away and comes back at another address.
"""

from __future__ import annotations

import dataclasses
import json
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from opengrid.client.http import Http, Response
from opengrid.core.codec import from_json, to_json
from opengrid.core.errors import GridError, ServerUnreachable, Superseded
from opengrid.core.protocol import POLL_S, Acknowledged, Assignment, Desired, Fact, Facts, Hello, Ticket
from opengrid.node.clock import ServerClock

#: Pauses between tries while the server does not answer: the first, and the longest.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 2.0

#: Most facts in one message.
_BATCH = 200

T = TypeVar("T")


class ServerAddress:
    """Where the server is: fixed, or as its file says at the moment."""

    def __init__(self, ticket: Ticket) -> None:
        self._url, self._certificate = ticket.url, ticket.certificate
        self._file = Path(ticket.server_file) if ticket.server_file is not None else None
        self._cut_until = 0.0

    def cut_off(self, seconds: float) -> None:
        """Let nobody reach the server for so long: the rehearsal of a partition."""
        self._cut_until = time.monotonic() + seconds

    def check(self) -> None:
        """Raise ServerUnreachable while we are cut off."""
        if time.monotonic() < self._cut_until:
            raise ServerUnreachable("cut off, as rehearsed")

    def url(self) -> str:
        """Return the server's address; ServerUnreachable when its file tells none."""
        return self._read()[0]

    def connect(self, token: str) -> Http:
        """Return a connection to the server, for one thread; ServerUnreachable when its file tells none."""
        url, certificate = self._read()
        return Http(url, token=token, certificate=certificate)

    def _read(self) -> tuple[str, str | None]:
        if self._file is None:
            if self._url is None:
                raise ServerUnreachable("the ticket names no server")
            return self._url, self._certificate
        try:
            about = json.loads(self._file.read_text())
            return str(about["url"]), about.get("certificate")
        except (OSError, ValueError, KeyError, TypeError):
            raise ServerUnreachable(f"no server: {self._file} tells none") from None


class Channel:
    """Requests of one thread, repeated on a new connection while the server is away."""

    def __init__(self, address: ServerAddress, token: str) -> None:
        self._address, self._token = address, token
        self._http: Http | None = None
        self.away_since: float | None = None  #: monotonic time of the first failure in a row
        self._pause_s = _FIRST_PAUSE_S

    def another(self) -> Channel:
        """Return a channel to the same server for another thread."""
        return Channel(self._address, self._token)

    def call(self, use: Callable[[Http], T]) -> T:
        """Do one request. After a GridError the address is read anew before the next one."""
        try:
            self._address.check()
            if self._http is None:
                self._http = self._address.connect(self._token)
            result = use(self._http)
            self._address.check()  # what was under way when the cut came is lost as well
        except Superseded:
            raise
        except GridError:
            self.away_since = self.away_since or time.monotonic()
            self.close()
            raise
        self.away_since, self._pause_s = None, _FIRST_PAUSE_S
        return result

    def pause(self, stopped: threading.Event | None = None) -> None:
        """Wait before the next try, each time longer."""
        (stopped or threading.Event()).wait(self._pause_s)
        self._pause_s = min(_LONGEST_PAUSE_S, self._pause_s * 2)

    def call_until_answered(
        self, use: Callable[[Http], T], *, timeout_s: float, is_hopeless: Callable[[], bool] = lambda: False
    ) -> T:
        """Repeat a request while nobody answers, for so long and not without hope; other errors are raised at once."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                return self.call(use)
            except ServerUnreachable:
                if time.monotonic() > deadline or is_hopeless():
                    raise
            self.pause()

    def close(self) -> None:
        """Drop the connection."""
        if self._http is not None:
            self._http.close()
            self._http = None


def say_hello(
    address: ServerAddress,
    ticket: Ticket,
    hello: Hello,
    clock: ServerClock,
    *,
    timeout_s: float,
    is_hopeless: Callable[[], bool],
) -> Assignment:
    """Exchange the ticket for an assignment. The session secret in `hello` makes repeating it harmless."""
    channel = Channel(address, ticket.token)
    try:
        return channel.call_until_answered(
            lambda http: _hello_once(http, hello, clock), timeout_s=timeout_s, is_hopeless=is_hopeless
        )
    finally:
        channel.close()


def _hello_once(http: Http, hello: Hello, clock: ServerClock) -> Assignment:
    sent_ns = time.time_ns()
    response = http.request("POST", "/agent/v1/hello", json=to_json(hello))
    assignment = from_json(Assignment, response.json())
    clock.observe(assignment.now_ns, sent_ns=sent_ns, received_ns=time.time_ns())
    return assignment


class Link:
    """Two threads: one polls for the desired state, one sends facts in order.

    `on_desired` and `on_superseded` are called from them; they must not block.
    """

    def __init__(
        self,
        address: ServerAddress,
        session: str,
        clock: ServerClock,
        *,
        on_desired: Callable[[Desired], None],
        on_superseded: Callable[[str], None],
        on_acknowledged: Callable[[], None],
        log: Callable[[str], None],
    ) -> None:
        self._clock, self._log = clock, log
        self._on_desired, self._on_superseded, self._on_acknowledged = on_desired, on_superseded, on_acknowledged
        self._polls = Channel(address, session)
        self._sends = Channel(address, session)
        self._stopped = threading.Event()
        self._changed = threading.Condition()
        self._pending: deque[Fact] = deque()
        self._first = 1  #: number of the first pending fact

    def start(self) -> None:
        """Start both threads."""
        for name, work in (("poll", self._poll), ("facts", self._send_facts)):
            threading.Thread(target=work, name=name, daemon=True).start()

    def stop(self) -> None:
        """Have the threads end when they next wake up."""
        self._stopped.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def away_since(self) -> float | None:
        """Monotonic time since which the server has not answered a poll; None while it does."""
        return self._polls.away_since

    @property
    def has_pending(self) -> bool:
        """Whether the server has not acknowledged every fact yet."""
        with self._changed:
            return bool(self._pending)

    def tell(self, fact: Fact) -> None:
        """Queue a fact; it is sent at once and repeated until acknowledged."""
        with self._changed:
            self._pending.append(fact)
            self._changed.notify_all()

    def _poll(self) -> None:
        version, stacks, last = 0, 0, None
        while not self._stopped.is_set():
            try:
                desired = self._polls.call(lambda http, v=version, s=stacks: self._poll_once(http, v, s))
            except Superseded as error:
                self._on_superseded(error.message)
                return
            except GridError as error:
                self._say_away("poll", error, self._polls)
                continue
            version, stacks = desired.version, max(stacks, desired.stacks)
            news = dataclasses.replace(desired, now_ns=0)
            if news == last:
                self._stopped.wait(0.05)  # a server that answers at once without news must not keep us busy
                continue
            last = news
            self._on_desired(desired)

    def _poll_once(self, http: Http, version: int, stacks: int) -> Desired:
        sent_ns = time.time_ns()
        known = {"version": version, "stacks": stacks}
        response = http.request("GET", "/agent/v1/desired", query=known, timeout_s=POLL_S + 15)
        desired = from_json(Desired, response.json())
        self._clock.observe(desired.now_ns, sent_ns=sent_ns, received_ns=time.time_ns())
        return desired

    def _send_facts(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._pending or self._stopped.is_set())
                if self._stopped.is_set():
                    return
                first, facts = self._first, tuple(list(self._pending)[:_BATCH])
            try:
                number = self._sends.call(lambda http, f=first, b=facts: _send_once(http, f, b))
            except Superseded as error:
                self._on_superseded(error.message)
                return
            except GridError as error:
                self._say_away("facts", error, self._sends)
                continue
            self._forget(number)

    def _forget(self, number: int) -> None:
        with self._changed:
            while self._pending and self._first <= number:
                self._pending.popleft()
                self._first += 1
        self._on_acknowledged()

    def _say_away(self, what: str, error: GridError, channel: Channel) -> None:
        if channel.away_since is not None and time.monotonic() - channel.away_since < _FIRST_PAUSE_S:
            self._log(f"{what}: {error.message}; trying again")  # once per absence
        channel.pause(self._stopped)


def _send_once(http: Http, first: int, facts: tuple[Fact, ...]) -> int:
    # The time of sending, not of the fact: the server compares it with its own clock.
    message = Facts(first=first, facts=facts, now_ns=time.time_ns())
    response: Response = http.request("POST", "/agent/v1/facts", json=to_json(message))
    return from_json(Acknowledged, response.json()).number
