"""Which interface of this machine leads somewhere, and free ports."""

from __future__ import annotations

import fcntl
import socket
import struct

from opengrid.core.network import address_towards

_SIOCGIFADDR = 0x8915


def interface_towards(host: str) -> str | None:
    """Return the network interface on the way to `host`; None when it is not known (IPv6)."""
    wanted = address_towards(host)
    for _, name in socket.if_nameindex():
        if _address_of(name) == wanted:
            return name
    return "lo" if wanted.startswith("127.") else None


class ReservedPort:
    """A free port, kept from others that let the system choose one until it is closed."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
        # The ranks' own server may bind it the moment we let go.
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((address, 0))
        self.port = int(self._socket.getsockname()[1])

    def close(self) -> None:
        """Let the port go; repeating it is harmless."""
        self._socket.close()


def _address_of(interface: str) -> str | None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        try:
            answer = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(answer[20:24])
