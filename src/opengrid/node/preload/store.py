"""The rendezvous store of one generation: a process of its own, so that its threads never meet a fork."""

from __future__ import annotations

import importlib
import os
import signal
import socket
from datetime import timedelta
from typing import Any

from opengrid.node import spawn
from opengrid.node.preload.messages import OpenStore, Reply, StoreFailed, StoreMet, StoreOpened, encode


def serve_store(connection: socket.socket, request: OpenStore) -> None:
    """Open torch's TCPStore on a port that the kernel chooses, tell the launcher, answer its questions; never returns.

    Runs in a process forked for it. Says StoreOpened or StoreFailed once; then answers every byte with StoreMet:
    whether any key exists, and each rank writes one when it connects. Ends when the launcher closes the connection.
    """
    spawn.set_title(request.title, "grid store")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # ended by its launcher alone, after the ranks
    try:
        # Preloaded in a template; a template without torch loads it here, for whatever its ranks may be.
        distributed: Any = importlib.import_module("torch.distributed")

        store = distributed.TCPStore(
            request.address,
            0,
            is_master=True,
            wait_for_workers=False,
            multi_tenant=True,
            timeout=timedelta(seconds=request.timeout_s),
        )
        before = int(store.num_keys())
        _say(connection, StoreOpened(port=int(store.port)))
        while connection.recv(1):
            _say(connection, StoreMet(met=int(store.num_keys()) > before))
    except Exception as error:  # noqa: BLE001  the edge of a process: whatever torch raises is reported to the agent
        _say(connection, StoreFailed(message=f"{type(error).__name__}: {error}"))
    os._exit(0)


def _say(connection: socket.socket, reply: Reply) -> None:
    try:
        connection.sendall(encode(reply))
    except OSError:
        os._exit(0)
