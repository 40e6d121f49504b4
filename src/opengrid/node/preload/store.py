"""The rendezvous store of one generation: a process of its own, so that its threads never meet a fork."""

from __future__ import annotations

import importlib
import os
import signal
import socket
from datetime import timedelta
from typing import Any

from opengrid.node import spawn
from opengrid.node.preload.loop import readable
from opengrid.node.preload.messages import OpenStore, Reply, StoreFailed, StoreMet, StoreOpened, encode

#: So many ranks may connect before the store takes the first; the kernel has a bound of its own.
_BACKLOG = 65535


def serve_store(connection: socket.socket, request: OpenStore) -> None:
    """Open a store for ranks on a port that the kernel chooses, tell the launcher, answer its questions; never returns.

    Runs in a process forked for it. Says StoreOpened or StoreFailed once; then answers every byte with StoreMet:
    whether any rank ever connected. Ends when the launcher closes the connection.
    """
    spawn.set_title(request.title, "grid store")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ended by its launcher alone, after the ranks
    try:
        with _listen(request.address) as listener:
            port = int(listener.getsockname()[1])
            _say(connection, StoreOpened(port=port))
            _wait_for_a_rank(connection, listener)
            # Preloaded in a template. One without torch loads it here, and only when a rank asks: it takes a second,
            # and ranks whose script is content with the standard library never do.
            distributed: Any = importlib.import_module("torch.distributed")
            _store = distributed.TCPStore(
                request.address,
                port,
                is_master=True,
                wait_for_workers=False,
                timeout=timedelta(seconds=request.timeout_s),
                master_listen_fd=listener.detach(),
            )
        while connection.recv(1):
            _say(connection, StoreMet(met=True))
    except Exception as error:  # noqa: BLE001  the edge of a process: whatever torch raises is reported to the agent
        _say(connection, StoreFailed(message=f"{type(error).__name__}: {error}"))
    os._exit(0)


def _listen(address: str) -> socket.socket:
    """Return a socket on an address of this machine, at a port that the kernel chooses."""
    family, kind, protocol, _, place = socket.getaddrinfo(address, 0, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    listener.bind(place)
    listener.listen(_BACKLOG)
    return listener


def _wait_for_a_rank(connection: socket.socket, listener: socket.socket) -> None:
    """Return when the first rank connects; until then the launcher is told that none has."""
    while listener.fileno() not in (ready := readable([connection.fileno(), listener.fileno()], None)):
        if ready and not connection.recv(1):
            os._exit(0)
        _say(connection, StoreMet(met=False))


def _say(connection: socket.socket, reply: Reply) -> None:
    try:
        connection.sendall(encode(reply))
    except OSError:
        os._exit(0)
