"""Machines (namespaces) that are reached by ssh: Debian's sshd on each, with processes, home and /tmp of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import missing
from tests.support.grid import eventually
from tests.support.ray_cluster import Machines, machines

_SSHD = "/usr/sbin/sshd"

#: What Ray shall find there, whatever the computer that plays the machines has.
_RESOURCES = '{\\"CPU\\": 8, \\"GPU\\": 4, \\"object_store_memory\\": 80000000}'


@dataclass
class Boxes:
    """Machines called box1, box2 … by the ssh whose folder is `bin`."""

    machines: Machines
    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    def trust(self, count: int) -> None:
        """Do what a person does who has compared the fingerprints."""
        lines: list[str] = []
        for index in range(count):
            public = (self.folder / f"host{index}.pub").read_text().split()
            lines.append(f"{self.machines.address(index)} {public[0]} {public[1]}")
        self.known_hosts.write_text("\n".join(lines) + "\n")

    def ray_pids(self, index: int) -> list[int]:
        """Return everything that runs on a machine and was started by ssh."""
        found: list[int] = []
        for pid in self.machines.pids(index):
            with contextlib.suppress(OSError):
                if Path(f"/proc/{pid}/comm").read_text().strip() not in ("sshd", "unshare"):
                    found.append(pid)
        return found

    def kill(self, index: int) -> None:
        """End at once what was started by ssh, as a restart of the machine would."""
        for pid in self.ray_pids(index):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def boxes(folder: Path, count: int) -> Iterator[Boxes]:
    """Give so many machines, of which all but the last have an sshd. `folder` is not below /tmp."""
    if not os.path.exists(_SSHD):
        missing("sshd", "there is no sshd here: apt install openssh-server")
    with machines(folder, count) as made:
        about = Boxes(made, folder)
        _make_client(about, count)
        started = list[subprocess.Popen[bytes]]()
        try:
            started += [_start_sshd(about, index) for index in range(count - 1)]
            eventually(lambda: all(_answers(made.address(index)) for index in range(count - 1)))
            yield about
        finally:
            for process in started:
                process.kill()
                process.wait()


def _make_client(about: Boxes, count: int) -> None:
    key = about.folder / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    lines: list[str] = []
    for index in range(count):
        lines += [f"Host box{index + 1}", f"  HostName {about.machines.address(index)}"]
    lines += ["Host *", "  User root", f"  IdentityFile {key}", "  IdentitiesOnly yes"]
    lines += [f"  UserKnownHostsFile {about.known_hosts}", "  GlobalKnownHostsFile none"]
    (about.folder / "config").write_text("\n".join(lines) + "\n")
    about.known_hosts.touch()
    about.bin.mkdir()
    (about.bin / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {about.folder}/config "$@"\n')
    (about.bin / "ssh").chmod(0o755)


def _start_sshd(about: Boxes, index: int) -> subprocess.Popen[bytes]:
    folder, name = about.folder, about.machines.name(index)
    host_key, home = folder / f"host{index}", folder / f"home{index}"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(host_key)], check=True)
    home.mkdir(mode=0o700)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = folder / f"sshd{index}.conf"
    config.write_text(
        f"HostKey {host_key}\n"
        f"AuthorizedKeysFile {folder}/key.pub\n"
        f'SetEnv "RAY_OVERRIDE_RESOURCES={_RESOURCES}" HOME={home}\n'
        "ListenAddress 0.0.0.0\n"
        "PidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
    )
    script = (
        f"hostname {name} && mount --make-rprivate / && mount -t tmpfs tmpfs /tmp && "
        'mount --bind /dev/null /etc/resolv.conf && exec "$@"'
    )
    with (folder / f"sshd{index}.log").open("wb") as log:
        return subprocess.Popen(
            [
                *("nsenter", f"--net=/run/netns/{name}"),
                *("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", script, "sh", _SSHD, "-D", "-e", "-f", str(config)),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )


def _answers(address: str) -> bool:
    done = subprocess.run(["ssh-keyscan", "-T", "2", address], capture_output=True)
    return bool(done.stdout)
