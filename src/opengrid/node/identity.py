"""How an agent is told apart: its ticket, and the lock that makes it the only one of its machine and attempt."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.codec import from_json
from opengrid.core.errors import InvalidValue
from opengrid.core.locks import try_lock
from opengrid.core.protocol import Ticket
from opengrid.node import spawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where an agent keeps its things."""

    lock: Path
    groups: Path  #: process groups of its ranks, for whoever must sweep after it
    spool: Path  #: ranks' output that the server may not have yet


def read_ticket(path: Path) -> Ticket | None:
    """Return the ticket; None when it is gone, because another copy of this agent has used it."""
    try:
        document: object = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise InvalidValue(f"{path} is no ticket: {error}") from None
    return from_json(Ticket, document)


def places_of(ticket: Ticket) -> Places:
    """Return the agent's places below the ticket's state folder."""
    state, name = Path(ticket.state_dir), f"{ticket.attempt_id}-{ticket.machine}"
    return Places(lock=state / f"{name}.lock", groups=state / f"{name}.groups", spool=state / "spool" / name)


def homes_of(ticket: Ticket) -> tuple[Path, ...]:
    """Return without what nobody asks for an agent's work: the server's folder, and the agent's own lock.

    Not the folder of the lock: whoever else has not noticed yet that it was removed may make it again.
    """
    server = [Path(ticket.server_file).parent] if ticket.server_file is not None else []
    return (*server, places_of(ticket).lock)


def take_lock(path: Path) -> int | None:
    """Lock the file, write into it who we are, and return the descriptor that holds it; None when it is taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    if not try_lock(descriptor):
        os.close(descriptor)
        return None
    me = spawn.group_of(os.getpid())
    document = {"pid": os.getpid(), "start_time": me.start_time if me else 0, "boot_id": spawn.boot_id()}
    os.ftruncate(descriptor, 0)
    os.write(descriptor, json.dumps(document).encode())
    return descriptor
