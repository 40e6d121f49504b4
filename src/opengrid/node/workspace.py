"""The folders that ranks work in, filled from the bundle of the user's tree."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.core.errors import GridError, InvalidValue, Unusable
from opengrid.core.files import file_digest
from opengrid.core.manifest import safe_path
from opengrid.core.protocol import Assignment

if TYPE_CHECKING:
    import tarfile

_BLOCK = 1 << 18


def node_folders(assignment: Assignment) -> dict[int, Path]:
    """Return the work folder of each node of this machine, by the node's index in the gang.

    The same path on every machine; simulated machines share a disk, so there each node has its own below it.
    """
    root = Path(assignment.work_dir)
    nodes = assignment.gang.nodes_of(assignment.machine)
    return {node.index: root / f"node{node.index}" if assignment.simulated else root for node in nodes}


def make_folders(assignment: Assignment, fetch: Callable[[str, Path], None], scratch: Path) -> bool:
    """Make this machine's work folders, complete or not at all; return whether all are new.

    One that exists is left as it is.
    `fetch` brings the blob of a digest into a file, where it does not lie on a disk of this machine; `scratch` is a
    folder for that. Errors say what to do next.
    """
    missing = [folder for folder in set(node_folders(assignment).values()) if not folder.exists()]
    if not missing:
        return False
    bundle = find_bundle(assignment, fetch, scratch)
    for folder in missing:
        make_folder(bundle, folder)
    return len(missing) == len(set(node_folders(assignment).values()))


def files_of_bundle(bundle: Path) -> frozenset[str]:
    """Return the paths of the files and links in a bundle."""
    import tarfile

    with tarfile.open(bundle, "r:*") as archive:
        return frozenset(member.name.removeprefix("./") for member in archive if not member.isdir())


def find_bundle(assignment: Assignment, fetch: Callable[[str, Path], None], scratch: Path) -> Path:
    """Return a bundle whose content has been checked."""
    here = Path(assignment.bundle_path) if assignment.bundle_path is not None else None
    if here is not None and os.access(here, os.R_OK):
        return _checked(here, assignment.bundle)
    fetched = scratch / "bundle.tar"
    try:
        fetch(assignment.bundle, fetched)
    except OSError as error:
        raise _disk_error(error, scratch) from error
    return _checked(fetched, assignment.bundle)


def make_folder(bundle: Path, folder: Path) -> None:
    """Unpack a bundle into a folder that appears when it is complete. Whoever comes second finds it made."""
    partial = folder.with_name(f"{folder.name}.part-{os.getpid()}")
    try:
        partial.mkdir(parents=True)
        unpack(bundle, partial)
        os.rename(partial, folder)
    except OSError as error:
        if folder.is_dir() and error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return  # another agent of this host was faster
        raise _disk_error(error, folder) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def unpack(bundle: Path, folder: Path) -> None:
    """Unpack a tar file into an empty folder. No path leaves it, and no file is written through a link.

    Links are made last, pointing where they pointed in the user's tree, outside too: it is the user's own program that
    may follow them. InvalidValue for a bundle that is broken or holds anything but files, folders and links.
    """
    import tarfile  # 1 MB that only an agent which unpacks needs

    links: list[tuple[Path, str]] = []
    try:
        with tarfile.open(bundle, "r:*") as archive:
            while (member := archive.next()) is not None:
                target = safe_path(folder, member.name) if member.name not in (".", "./") else folder
                if member.issym():
                    links.append((target, member.linkname))
                elif member.isdir():
                    target.mkdir(parents=True, exist_ok=True)
                elif member.isreg():
                    _write(archive, member, target)
                else:
                    raise InvalidValue(f"the bundle holds {member.name}, which is no file, folder or link")
                # Else it remembers every one.
                archive.members = []  # pyright: ignore[reportAttributeAccessIssue]
    except tarfile.TarError as error:
        raise InvalidValue(f"the bundle {bundle.name} is broken: {error}", hint="run again to send it anew") from error
    for target, points_to in links:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(points_to, target)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    source = archive.extractfile(member)
    if source is None:
        raise InvalidValue(f"the bundle holds no content of {member.name}")
    mode = stat.S_IRUSR | stat.S_IWUSR | (member.mode & 0o777)
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        shutil.copyfileobj(source, file, _BLOCK)
        os.fchmod(file.fileno(), mode)  # the umask may have taken bits
    os.utime(target, (member.mtime, member.mtime))


def _checked(bundle: Path, digest: str) -> Path:
    found = file_digest(bundle)
    if found != digest:
        raise InvalidValue(
            f"the bundle {bundle} is not what was sent: its SHA-256 is {found[:12]}…, not {digest[:12]}…",
            hint="the disk may be full or broken; run again to send the tree anew",
        )
    return bundle


def _disk_error(error: OSError, place: Path) -> GridError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unusable(f"no space left for {place}", hint="free space there and run again")
    return Unusable(f"cannot make {error.filename or place}: {error.strerror}", hint="check the folder and its owner")
