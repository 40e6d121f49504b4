"""Puts back into the work folders what a generation goes on from, before its ranks start."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from opengrid.client.http import Http
from opengrid.client.links import BucketClient, located_blocks
from opengrid.core import checkpoint_file
from opengrid.core.checkpoint_file import ASIDE
from opengrid.core.codec import from_json
from opengrid.core.errors import InvalidValue, Unusable
from opengrid.core.files import file_digest
from opengrid.core.manifest import safe_path
from opengrid.core.packs import Located
from opengrid.core.protocol import Assignment, Restore, RestoreFile
from opengrid.node.link import Channel
from opengrid.node.scan import scan
from opengrid.node.workspace import node_folders


def put_back(
    assignment: Assignment,
    generation: int,
    channel: Channel,
    *,
    digest_of: Callable[[Path], str | None],
    before: Callable[[Path], frozenset[str] | None],
) -> tuple[Restore, tuple[str, ...]]:
    """Make the work folders what the server says they shall be; return that, and what people should know.

    What lies there with the right content stays; `digest_of` returns a file's SHA-256 where it is known already, and
    `before` which files of a folder are the user's own, None when another machine looks after it.
    Files appear whole or not at all. Raises GridError and OSError.
    """
    restore = channel.call_until_answered(lambda http: _ask(http, generation), timeout_s=float("inf"))
    folders, has_links = node_folders(assignment), assignment.has_links
    notes: list[str] = []
    for file in restore.files:
        for node, folder in folders.items():
            if file.node in (None, node):
                notes += _put(file, safe_path(folder, file.path), channel, digest_of, has_links=has_links)
    for folder in sorted(set(folders.values())):
        renamed = [path for path in restore.aside if _set_aside(safe_path(folder, path))]
        notes += [f"{path} is not used: renamed to {path}{ASIDE}" for path in renamed]
        notes += _set_torn_aside(folder, before(folder))
    return restore, tuple(dict.fromkeys(notes))


def _ask(http: Http, generation: int) -> Restore:
    return from_json(Restore, http.request("GET", f"/agent/v1/restore/{generation}").json())


def _put(
    file: RestoreFile, target: Path, channel: Channel, digest_of: Callable[[Path], str | None], *, has_links: bool
) -> list[str]:
    if target.is_dir():
        raise Unusable(f"{target} is a folder and should be a file of the checkpoint")
    problem = None
    with contextlib.suppress(FileNotFoundError):
        if target.stat().st_size == file.size and (digest_of(target) or file_digest(target)) == file.sha256:
            return []
        problem = checkpoint_file.torn(target) if checkpoint_file.is_candidate(file.path) else None
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name[:100]}.{os.getpid()}.part")
    try:
        _bring(file, partial, channel, has_links=has_links)
        os.utime(partial, ns=(file.modified_us * 1000, file.modified_us * 1000))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)
    return [f"{file.path} was torn, {problem}: the whole one before it is put back"] if problem is not None else []


def _bring(file: RestoreFile, partial: Path, channel: Channel, *, has_links: bool) -> None:
    if file.text is not None:
        partial.write_text(file.text, encoding="utf-8")
    elif file.source is not None and os.access(file.source, os.R_OK):
        shutil.copyfile(file.source, partial)
    else:
        bring = _download_by_links if has_links else _download
        channel.call_until_answered(lambda http: bring(http, file, partial), timeout_s=float("inf"))
    found = file_digest(partial)
    if found != file.sha256:
        raise InvalidValue(f"{file.path} came with SHA-256 {found[:12]}…, not {file.sha256[:12]}…")


def _download(http: Http, file: RestoreFile, partial: Path) -> None:
    path = f"/agent/v1/artifacts/contents/{file.sha256}"
    with partial.open("wb") as copy, http.stream("GET", path, timeout_s=60) as blocks:
        for block in blocks:
            copy.write(block)


def _download_by_links(http: Http, file: RestoreFile, partial: Path) -> None:
    path = f"/agent/v1/artifacts/contents/{file.sha256}/links"
    with contextlib.closing(BucketClient()) as bucket, partial.open("wb") as copy:
        for block in located_blocks(bucket, lambda: from_json(Located, http.request("GET", path).json())):
            copy.write(block)


def _set_aside(path: Path) -> bool:
    if not path.exists():
        return False
    aside = path.with_name(path.name + ASIDE)
    if aside.is_dir():
        shutil.rmtree(aside)  # of an earlier generation that was killed at the same place
    os.rename(path, aside)
    return True


def _set_torn_aside(folder: Path, before: frozenset[str] | None) -> list[str]:
    """Rename files that a rank was killed while writing: the script would fail of them."""
    notes: list[str] = []
    written = scan(folder).files.keys() - before if before is not None else ()
    for path in filter(checkpoint_file.is_candidate, sorted(written)):
        with contextlib.suppress(OSError):
            problem = checkpoint_file.torn(folder / path)
            if problem is not None and _set_aside(folder / path):
                notes.append(f"{path} is torn, {problem}: renamed to {path}{ASIDE}")
    return notes
