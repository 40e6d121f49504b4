"""Mounts of a rank's own: datastore versions, read-only, at the paths that its arguments name.

In a mount namespace, which root may make as it is and others inside a user namespace in which they keep their own
number. A path that does not exist is made in a copy of the folder that lacks it: one of mounts, nothing on the disk.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from opengrid.core.mounts import Mount

_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_DETACH = 2

#: What a mount from a more privileged namespace keeps: no set-user-ID, devices, programs, access times.
_KEPT = 2 | 4 | 8 | 1024 | 2048

#: The number of pivot_root, which the C library has no function for.
_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "ppc64le": 203, "s390x": 217, "riscv64": 41}

_libc = ctypes.CDLL(None, use_errno=True)


def enter(mounts: Sequence[Mount], scratch: str) -> str:
    """Give this process, which has one thread, the mounts; OSError when it cannot have all of them.

    `scratch` is an empty folder that belongs to nobody else. Returns in which namespace they are: `mount namespace`, as
    root may make it, or `user namespace`.
    """
    namespace = _unshare()
    _mount(None, "/", None, _REC | _PRIVATE)
    ours: set[int] = set()  # file systems that nobody else sees
    for mount in mounts:
        if not os.path.isdir(mount.path):
            _make_visible(mount.path, scratch, ours)
        _mount(mount.source, mount.path, None, _BIND)
        kept = os.statvfs(mount.path).f_flag & _KEPT
        _mount(None, mount.path, None, _BIND | _REMOUNT | _RDONLY | kept)
    return namespace


def mounts_main(arguments: list[str]) -> int:
    """`mounts`: try it; print in which namespace, or why there cannot be any, and exit with 1."""
    with tempfile.TemporaryDirectory(prefix="grid-mounts-") as folder:
        source, scratch = Path(folder) / "source", Path(folder) / "scratch"
        source.mkdir()
        scratch.mkdir()
        process = os.fork()
        if process == 0:
            os._exit(_try(source, scratch))
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def _try(source: Path, scratch: Path) -> int:
    place = f"/grid-mounts-{os.getpid()}/x"
    try:
        namespace = enter([Mount(name="x", version=1, path=place, source=str(source), is_bound=True)], str(scratch))
        os.listdir(place)
    except OSError as error:
        print(error.strerror, file=sys.stderr, flush=True)
        return 1
    if os.access(place, os.W_OK):
        print(f"a mount at {place} cannot be made read-only", file=sys.stderr, flush=True)
        return 1
    print(namespace, flush=True)
    return 0


def _unshare() -> str:
    if _libc.unshare(_NEWNS) == 0:
        return "mount namespace"
    user, group = os.geteuid(), os.getegid()
    if _libc.unshare(_NEWNS | _NEWUSER) != 0:
        raise _error("unshare")
    # Nobody but ourselves exists in there; groups are kept, but cannot be changed.
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    return "user namespace"


def _make_visible(path: str, scratch: str, ours: set[int]) -> None:
    """Make a folder appear below the nearest one that exists, which becomes a folder of mounts of what is in it."""
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    if os.stat(above).st_dev in ours:
        os.makedirs(path)
        return
    _mount("tmpfs", scratch, "tmpfs", 0, "mode=755")
    ours.add(os.stat(scratch).st_dev)
    for entry in os.scandir(above):
        _mirror(entry, os.path.join(scratch, entry.name))
    os.makedirs(os.path.join(scratch, os.path.relpath(path, above)))
    if above != "/":
        _mount(scratch, above, None, _BIND | _REC)
        return
    os.chdir(scratch)
    number = _PIVOT_ROOT.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, "pivot_root is not known here")
    if _libc.syscall(number, b".", b".") != 0:
        raise _error("pivot_root")
    if _libc.umount2(b".", _DETACH) != 0:
        raise _error("umount2")
    os.chdir("/")


def _mirror(entry: os.DirEntry[str], place: str) -> None:
    if entry.is_symlink():
        os.symlink(os.readlink(entry.path), place)
        return
    if entry.is_dir():
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(entry.path, place, None, _BIND | _REC)


def _mount(source: str | None, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else os.fsencode(text) for text in (source, target, kind, data)]
    if _libc.mount(texts[0], texts[1], texts[2], ctypes.c_ulong(flags), texts[3]) != 0:
        raise _error(f"mount at {target}")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
