"""GRID_HOME: its folders, and what server.json says about the server that serves it."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

from opengrid.core.errors import Unusable

#: File systems of other machines: their locks and memory maps cannot be relied on.
_NETWORK = (
    *("9p", "afs", "beegfs", "ceph", "cifs", "glusterfs", "gpfs", "lustre", "nfs", "nfs4", "orangefs"),
    *("smb", "smb3", "smbfs", "fuse.ceph", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs"),
)

_LOOPBACK = ("127.", "localhost", "::1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The folders of one user's Grid."""

    root: Path  #: GRID_HOME: server.json and the user's token; may be shared by several hosts
    state: Path  #: GRID_STATE: everything else; on a disk of this host

    @property
    def server_file(self) -> Path:
        """Where a running server says how to reach it."""
        return self.root / "server.json"

    @property
    def token_file(self) -> Path:
        """The user's token."""
        return self.root / "token"

    @property
    def uploads(self) -> Path:
        """What is remembered of uploads and of their sources' files."""
        return self.state / "uploads"

    @property
    def log_file(self) -> Path:
        """What the server writes."""
        return self.state / "server.log"


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What server.json says."""

    pid: int
    url: str
    version: str
    started_at: str
    home: str
    host: str
    boot_id: str
    arguments: tuple[str, ...] = ()  #: that start it again where others know it
    certificate: str | None = None  #: file of the certificate that it shows, on its own host

    @property
    def is_loopback(self) -> bool:
        """Whether only its own host reaches the server."""
        return (urlsplit(self.url).hostname or "").startswith(_LOOPBACK)

    @property
    def is_elsewhere(self) -> bool:
        """Whether another host runs the server. A host that was renamed is still in the same boot."""
        return self.host != socket.gethostname() and self.boot_id != boot_id()

    @property
    def is_alive(self) -> bool:
        """Whether its process runs on this host. Asked before its port, which another program may have taken since."""
        if self.boot_id != boot_id():
            return False
        return process_is_server(self.pid)

    @property
    def was_given_address(self) -> bool:
        """Whether somebody started it for others with --listen, so that it is not ours to replace."""
        return b"--listen" in _command(self.pid)


def find_home(environment: Mapping[str, str]) -> Home:
    """Return the home that the environment names."""
    root = Path(environment.get("GRID_HOME") or "~/.opengrid").expanduser().absolute()
    return Home(root=root, state=Path(environment.get("GRID_STATE") or root).expanduser().absolute())


def read_about(home: Home) -> About | None:
    """Return what server.json says; None when there is none, or none that can be read."""
    try:
        document: object = json.loads(home.server_file.read_text())
    except PermissionError as error:
        raise _not_writable(home.root, "GRID_HOME", error) from error
    except (OSError, ValueError):
        return None
    if not isinstance(document, dict):
        return None
    said = cast("dict[str, object]", document)
    try:
        texts = {name: str(said[name]) for name in ("url", "version", "started_at", "home", "host", "boot_id")}
        certificate, arguments = said.get("certificate"), cast("list[object]", said.get("arguments") or [])
        return About(
            pid=int(str(said["pid"])),
            arguments=tuple(str(argument) for argument in arguments),
            certificate=str(certificate) if certificate else None,
            **texts,
        )
    except (KeyError, TypeError, ValueError):
        return None


def read_token(home: Home) -> str:
    """Return the user's token, which the server makes before it is ready."""
    try:
        return home.token_file.read_text().strip()
    except OSError as error:
        raise Unusable(
            f"cannot read {home.token_file}: {error.strerror}",
            hint="`grid server stop` and try again: a server makes it when it starts",
        ) from error


def make_usable(home: Home, mounts: str | None = None) -> None:
    """Make the home's folders, mode 0700; Unusable when a server could not live there.

    `mounts` is a table as in /proc/mounts, this host's own unless given.
    """
    for folder, variable in ((home.root, "GRID_HOME"), (home.state, "GRID_STATE")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _not_writable(folder, variable, error) from error
        if not os.access(folder, os.W_OK | os.X_OK):
            raise _not_writable(folder, variable, PermissionError(13, "Permission denied"))
    kind = network_of(home.state, mounts)
    if kind:
        raise Unusable(
            f"{home.state} lies on a network file system ({kind}), where a database loses data",
            hint="set GRID_STATE to a folder on a disk of this host, such as /var/tmp/opengrid-$USER",
        )


def network_of(path: Path, mounts: str | None = None) -> str:
    """Return the type of the network file system that holds `path`; "" when it is none."""
    kind = file_system_of(path, _mounts() if mounts is None else mounts)
    return kind if kind in _NETWORK else ""


def file_system_of(path: Path, mounts: str) -> str:
    """Return the type of the file system that holds `path`, by a table as in /proc/mounts; "" when it does not say."""
    place, best, kind = os.path.realpath(path), -1, ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[1])  # a space is \040
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= best:  # of two mounts at one place the later hides the other
            best, kind = len(point), fields[2]
    return kind


def process_is_server(pid: int) -> bool:
    """Return whether a living process of this host is a server of ours; True where /proc cannot tell."""
    if not os.path.isdir("/proc/self"):
        return True
    command = _command(pid)
    # A process that is just ending has lost its command line before it is gone.
    return b"opengrid.server" in command or (not command and _state(pid) not in ("", "Z", "X"))


def boot_id() -> str:
    """Return what tells one boot of one host from all others; "" where the system has no such thing."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return b""


def _state(pid: int) -> str:
    """Return the letter of a process's state; "" when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def _mounts() -> str:
    try:
        return Path("/proc/self/mounts").read_text(errors="surrogateescape")
    except OSError:
        return ""


def _not_writable(folder: Path, variable: str, error: OSError) -> Unusable:
    return Unusable(f"cannot write to {folder}: {error.strerror}", hint=f"set {variable} to a folder of yours")
