"""A folder or file into the staging folder of a datastore version, with digests made on the way."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.errors import InvalidValue, NotFound, Unusable
from opengrid.core.manifest import Manifest, ManifestFile, safe_path, walk_files

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What will be copied."""

    root: Path
    paths: tuple[str, ...]  #: relative, sorted
    size: int  #: bytes


def find_material(source: Path) -> Material:
    """Return the files of a folder, or the one file; NotFound or InvalidValue when there is nothing to copy."""
    if source.is_file():
        return Material(root=source.parent, paths=(source.name,), size=source.stat().st_size)
    if not source.is_dir():
        raise NotFound(f"there is no {source}", hint="give a folder or a file of this computer", field="source")
    paths = tuple(walk_files(source))
    if not paths:
        raise InvalidValue(f"{source} is empty", hint="a datastore needs at least one file", field="source")
    return Material(root=source, paths=paths, size=sum((source / path).stat().st_size for path in paths))


def copy_material(material: Material, staging: Path, progress: Callable[[int], None]) -> Manifest:
    """Copy everything into an existing, empty folder; return what was copied.

    `progress` is called with the number of bytes of every block. Unusable when it does not fit, or the folder is out of
    reach.
    """
    if not staging.is_dir():
        raise Unusable(
            f"the server's folder {staging} is out of reach from here",
            hint="create datastores on the server's computer",
        )
    free = shutil.disk_usage(staging).free
    if material.size > free:
        raise Unusable(
            f"no space left for {material.size >> 20} MiB in {staging}: {free >> 20} MiB are free",
            hint="free space there",
        )
    files: list[ManifestFile] = []
    for path in material.paths:
        try:
            files.append(_copy_file(material.root / path, safe_path(staging, path), path, progress))
        except OSError as error:
            raise _explained(error, path, staging) from error
    return Manifest(files=tuple(files))


def _copy_file(source: Path, target: Path, path: str, progress: Callable[[int], None]) -> ManifestFile:
    digest, size = hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb", buffering=0) as file, target.open("xb", buffering=0) as copy:
        while block := file.read(_BLOCK):
            digest.update(block)
            written = 0
            while written < len(block):
                written += copy.write(memoryview(block)[written:])
            size += len(block)
            progress(len(block))
        os.fchmod(copy.fileno(), 0o644 | (os.fstat(file.fileno()).st_mode & 0o111))
    return ManifestFile(path=path, size=size, sha256=digest.hexdigest())


def _explained(error: OSError, path: str, staging: Path) -> Unusable:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unusable(f"no space left in {staging}", hint="free space there and create the datastore again")
    return Unusable(f"cannot copy {path}: {error.strerror}", hint="may you read it?")
