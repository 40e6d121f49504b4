"""Where a script finds a datastore version, and what becomes of its arguments where that place cannot be made."""

from __future__ import annotations

import dataclasses
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass

from opengrid.core.errors import InvalidValue

#: Where datastores are mounted unless a place is given.
MOUNT_ROOT = "/datastores"

#: What a mount must not hide: nothing would work any more.
_NEEDED = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/usr")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """A datastore version that a script reads."""

    name: str
    version: int
    path: str  #: where the script sees it
    source: str  #: where its tree lies
    is_fetched: bool = False  #: to there, by the machine that reads it
    is_shared: bool = False  #: a folder that all machines see
    is_bound: bool  #: by a read-only mount of the ranks' own; else arguments that begin with `path` are rewritten
    is_certain: bool = True  #: else the machine finds out whether it can be bound, and rewrites arguments if not


def check_mount_path(path: str) -> str:
    """Return a place for a mount; InvalidValue when it is none."""
    if not path.startswith("/") or "\0" in path or posixpath.normpath(path) != (path.rstrip("/") or "/"):
        raise InvalidValue(
            f"{path!r} is no place for a datastore", hint="give an absolute path", field="datastore_mount_dir"
        )
    place = path.rstrip("/")
    if not place or any(place == needed or place.startswith(f"{needed}/") for needed in _NEEDED):
        raise InvalidValue(
            f"a datastore at {path} would hide what every program needs",
            hint=f"another place, such as {MOUNT_ROOT}/data",
            field="datastore_mount_dir",
        )
    return place


def rewritten(arguments: Sequence[str], mounts: Sequence[Mount]) -> tuple[str, ...]:
    """Return arguments in which paths below a mount are those below its tree, also after `--option=`."""
    return tuple(_rewritten(argument, mounts) for argument in arguments)


def _rewritten(argument: str, mounts: Sequence[Mount]) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    for mount in mounts:
        if value == mount.path or value.startswith(f"{mount.path}/"):
            return f"{option}{equals}{mount.source}{value[len(mount.path) :]}"
    return argument


def seen_elsewhere(mount: Mount, work_dir: str) -> Mount:
    """Return a mount of this computer as machines of a cluster have it, of which nobody knows whether they can mount.

    Its tree is fetched below their work folder, to the same place on all of them, unless they see the folder itself.
    An argument that refers to a version became the place of its tree here, which is not theirs: it is rewritten.
    """
    if mount.is_shared:
        return dataclasses.replace(mount, is_bound=True, is_certain=False)
    place = posixpath.join(work_dir, "data", f"{mount.name}-{mount.version}")
    is_bound = mount.path != mount.source
    return dataclasses.replace(mount, source=place, is_fetched=True, is_bound=is_bound, is_certain=False)


def text_of(mount: Mount) -> str:
    """Return what people are told of a mount."""
    what = f"{mount.name}:{mount.version}"
    instead = f"arguments that begin with {mount.path} become {mount.source}"
    if mount.is_bound and mount.is_certain:
        return f"{what} at {mount.path}, read-only"
    if mount.is_bound:
        otherwise = f"; on others {instead}" if mount.path != mount.source else ""
        return f"{what} at {mount.path}, read-only on machines that allow mounts{otherwise}"
    if mount.path == mount.source or not mount.is_certain:
        return f"{what} at {mount.source}, without a mount of its own"
    return f"{what}: no mounts here, so {instead}"
