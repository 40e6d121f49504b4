"""One TensorBoard: `python -m opengrid.services.tensorboard_process LOGDIR SOCKET PREFIX`, ended by the end of stdin.

It listens on a Unix socket, which only its user can open, and where the system allows it in a network of its own: what
TensorBoard starts beside it listens on a port without asking who comes, and needs no network to do its work.
"""

from __future__ import annotations

import ctypes
import fcntl
import logging
import os
import socket
import struct
import sys
from pathlib import Path
from typing import Any, cast

_CLONE_NEWNET, _CLONE_NEWUSER = 0x40000000, 0x10000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_INTERFACE = struct.Struct("16sh22x")  # ifreq: name and flags


def main(logdir: str, place: str, prefix: str) -> None:
    """Serve until stdin ends."""
    _leave_network()
    # The program's own interface; the imports take most of its start.
    from tensorboard import default, program  # pyright: ignore[reportMissingTypeStubs]
    from werkzeug.serving import make_server

    class Server(program.TensorBoardServer):
        """TensorBoard's application on a Unix socket."""

        def __init__(self, wsgi_app: Any, flags: Any) -> None:  # noqa: ANN401 - TensorBoard's
            self._server = make_server(f"unix://{place}", 0, wsgi_app, threaded=True)

        def serve_forever(self) -> None:
            self._server.serve_forever()

        def get_url(self) -> str:
            return f"unix://{place}"

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # else a line for every request
    os.umask(0o077)
    board = program.TensorBoard(plugins=cast("Any", default).get_plugins(), server_class=Server)
    arguments = {"logdir": logdir, "path_prefix": prefix, "load_fast": "auto", "reload_interval": "2"}
    board.configure(argv=["tensorboard", *(f"--{name}={value}" for name, value in arguments.items())])
    board.launch()
    print("ready", flush=True)
    sys.stdin.read()
    os._exit(0)


def _leave_network() -> None:
    """Go where there is no network but a loopback of our own; stay where the system does not allow that."""
    user, group = os.getuid(), os.getgid()
    unshare = ctypes.CDLL(None, use_errno=True).unshare
    if user == 0:
        if unshare(_CLONE_NEWNET) != 0:
            return
    elif unshare(_CLONE_NEWUSER | _CLONE_NEWNET) == 0:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    else:
        return
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        flags = fcntl.ioctl(asking, _SIOCGIFFLAGS, struct.pack("16sh22x", b"lo", 0))
        fcntl.ioctl(
            asking, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", struct.unpack_from("h", flags, 16)[0] | _IFF_UP)
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
