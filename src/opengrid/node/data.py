"""Datastores on a machine that does not see the server's disk: fetched once per version, kept for all experiments."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from opengrid.client.http import Http
from opengrid.core.codec import from_json
from opengrid.core.errors import GridError, Unusable
from opengrid.core.manifest import safe_path
from opengrid.core.mounts import Mount
from opengrid.core.protocol import Assignment, DataFile, DataFiles
from opengrid.node.link import Channel

_PAGE = 1000


def fetch_data(assignment: Assignment, channel: Channel) -> None:
    """Make the trees of all mounts; blocks. One that is there is whole: it appears when its last file was checked."""
    if not assignment.fetches_data:
        return
    for mount in assignment.mounts:
        _make(mount, channel)


def _make(mount: Mount, channel: Channel) -> None:
    tree = Path(mount.source)
    tree.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(os.open(f"{tree}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another experiment's agent may be fetching the same
        if tree.is_dir():
            return
        partial = Path(f"{tree}.part")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            partial.mkdir()
            for file in _files(mount, channel):
                _fetch(mount, file, safe_path(partial, file.path), channel)
            os.rename(partial, tree)
        except OSError as error:
            raise Unusable(
                f"cannot keep datastore {mount.name}:{mount.version} in {tree}: {error.strerror}",
                hint="free space there, or choose another --work-dir for the cluster",
            ) from error


def _files(mount: Mount, channel: Channel) -> Iterator[DataFile]:
    offset = 0
    while True:
        page = channel.call_until_answered(
            lambda http, o=offset: from_json(
                DataFiles, http.request("GET", f"{_url(mount)}/files", query={"offset": o, "limit": _PAGE}).json()
            ),
            timeout_s=float("inf"),
        )
        yield from page.files
        offset += len(page.files)
        if not page.files or offset >= page.total:
            return


def _fetch(mount: Mount, file: DataFile, target: Path, channel: Channel) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)

    def download(http: Http) -> str:
        found = hashlib.sha256()
        query = {"path": file.path}
        with target.open("wb") as content, http.stream("GET", f"{_url(mount)}/content", query=query) as blocks:
            for block in blocks:
                found.update(block)
                content.write(block)
        return found.hexdigest()

    if channel.call_until_answered(download, timeout_s=float("inf")) != file.sha256:
        raise GridError(f"{file.path} of datastore {mount.name}:{mount.version} arrived damaged")
    target.chmod(0o555 if file.executable else 0o444)  # no script is to change what others read


def _url(mount: Mount) -> str:
    return f"/agent/v1/data/{mount.name}/{mount.version}"
