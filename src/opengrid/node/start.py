"""`agent TICKET`: the agent's composition root. Takes the lock, says hello, runs the agent, ends.

Says hello before it imports what comes after: the server has something to do meanwhile.
"""

from __future__ import annotations

import dataclasses
import importlib
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import opengrid
from opengrid.client.program import shell_variables
from opengrid.core.errors import GridError, ServerUnreachable
from opengrid.core.gone import GONE_S, GoneWatch, missing_one
from opengrid.core.network import address_towards
from opengrid.core.protocol import PROTOCOL, Assignment, Hello, Ticket
from opengrid.node import spawn
from opengrid.node.accelerators import is_bare
from opengrid.node.clock import ServerClock
from opengrid.node.identity import homes_of, places_of, read_ticket, take_lock
from opengrid.node.link import ServerAddress, say_hello

#: By then the ticket has expired.
_HELLO_TIMEOUT_S = 600.0

EXIT_REFUSED = 1


def agent_main(arguments: list[str]) -> int:
    """`agent TICKET [--away_s S] [--stuck_s S] [--gone_s S] [--settle_s S] [--templates FOLDER] …`.

    `--nvml FILE` is another library than the usual one to measure GPUs with.
    On a cluster's machine also `--leash stdin` (end when it is closed), `--shell own` (ranks get this process's PATH,
    HOME …, the user's being another computer's), `--work remove` (when all of it is safe), `--devices 0,1`, and
    `--address IP` (where the other machines of the cluster reach this one).

    Ends with 0 when released, and when another copy of this agent is at work.
    """
    path, options = Path(arguments[0]), dict(zip(arguments[1::2], arguments[2::2], strict=True))
    ticket = read_ticket(path)
    if ticket is None:
        log(f"{path} has been used by another copy of this agent")
        return 0
    lock = take_lock(places_of(ticket).lock)
    if lock is None:
        return 0
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    spawn.set_title(f"grid agent {ticket.attempt_id} machine {ticket.machine}", "grid agent")
    try:
        code = _work(ticket, path, options)
    except GridError as error:
        log(f"{error.message} ({error.hint})" if error.hint else error.message)
        code = EXIT_REFUSED
    sys.stderr.flush()
    os._exit(code)  # threads may hang in requests that nobody waits for; the lock goes with the process


def _work(ticket: Ticket, path: Path, options: dict[str, str]) -> int:
    address, clock = ServerAddress(ticket), ServerClock()
    homes = GoneWatch(lambda: missing_one(homes_of(ticket)), float(options.get("--gone_s", GONE_S)))
    session = os.urandom(32).hex()
    own_address = options.get("--address") or address_towards(_host(address))
    devices = tuple(filter(None, options.get("--devices", "").split(",")))
    hello = Hello(
        protocol=PROTOCOL,
        attempt_id=ticket.attempt_id,
        machine=ticket.machine,
        session=session,
        hostname=socket.gethostname(),
        address=own_address,
        pid=os.getpid(),
        boot_id=spawn.boot_id(),
        now_ns=time.time_ns(),
        devices=devices,
        is_bare=bool(devices) and is_bare(),
    )
    # Half of the agent's start is importing the rest of it.
    rest = threading.Thread(target=importlib.import_module, args=("opengrid.node.agent",))
    rest.start()
    assignment = say_hello(
        address,
        ticket,
        hello,
        clock,
        timeout_s=_HELLO_TIMEOUT_S,
        is_hopeless=lambda: homes.look(time.monotonic()) is not None,
    )
    rest.join()
    path.unlink(missing_ok=True)
    from opengrid.node.packages import overlay_of  # after hello, see above

    if options.get("--shell") == "own":
        own = shell_variables(os.environ)
        own.pop("CUDA_VISIBLE_DEVICES", None)  # the ranks' own is their node's share
        assignment = dataclasses.replace(assignment, environment={**own, **assignment.environment})
    assignment = dataclasses.replace(assignment, overlay=overlay_of(assignment))
    log(f"machine {ticket.machine} of {assignment.experiment}, attempt {assignment.attempt}")
    return _run(assignment, ticket, address, session, clock, homes, own_address, options)


def _run(
    assignment: Assignment,
    ticket: Ticket,
    address: ServerAddress,
    session: str,
    clock: ServerClock,
    homes: GoneWatch,
    own_address: str,
    options: dict[str, str],
) -> int:
    from opengrid.node.agent import Agent, Settings  # after hello, see above
    from opengrid.node.orphan import OrphanLimits
    from opengrid.node.readying import template_spec
    from opengrid.node.settling import SETTLE_S

    program, templates = _program(), options.get("--templates")
    idle_s = float(options.get("--template_idle_s", "900"))
    settings = Settings(
        address=own_address,
        homes=homes,
        template=lambda assignment: template_spec(assignment, program, templates, idle_s),
        log=log,
        limits=OrphanLimits(
            away_s=float(options.get("--away_s", "86400")),
            stuck_s=float(options.get("--stuck_s", "600")),
            leaving_s=float(options.get("--leaving_s", "3")),
        ),
        settle_s=float(options.get("--settle_s", SETTLE_S)),
        leash=sys.stdin.fileno() if options.get("--leash") == "stdin" else None,
        nvml=options.get("--nvml"),
        removes_work=options.get("--work") == "remove",
    )
    return Agent(assignment, places_of(ticket), address, session, clock, settings).run()


def log(message: str) -> None:
    """Write a line about the agent's own doings, with the time; the engine keeps it."""
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    print(f"{stamp}.{int(now * 1000) % 1000:03d}Z {message}", file=sys.stderr, flush=True)


def _host(address: ServerAddress) -> str:
    try:
        return urlsplit(address.url()).hostname or "127.0.0.1"
    except ServerUnreachable:
        return "127.0.0.1"  # its file is on this host, so it is too


def _program() -> str:
    """Return the zipapp (or folder) that this program runs from."""
    return os.path.dirname(os.path.dirname(os.path.abspath(opengrid.__file__)))
