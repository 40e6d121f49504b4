"""Addresses, interfaces and ports of this machine."""

from __future__ import annotations

import socket

from opengrid.core.network import address_towards
from opengrid.node.network import ReservedPort, interface_towards


def test_the_way_to_this_machine_is_loopback_by_ipv4_address() -> None:
    assert address_towards("127.0.0.1") == "127.0.0.1"
    assert address_towards("localhost") == "127.0.0.1"
    assert address_towards("no.such.host.invalid") == "127.0.0.1"
    assert interface_towards("127.0.0.1") == "lo"


def test_a_reserved_port_is_given_to_nobody_else_and_can_be_taken_over_at_once() -> None:
    reserved = ReservedPort("127.0.0.1")
    others = [socket.create_server(("127.0.0.1", 0)) for _ in range(50)]
    assert reserved.port not in {other.getsockname()[1] for other in others}
    reserved.close()
    with socket.create_server(("127.0.0.1", reserved.port)):
        pass
    for other in others:
        other.close()
