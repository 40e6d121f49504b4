"""Runs from a link: the server fetches what it names, and the request goes on as if its tree had been sent."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import os
import posixpath
import shutil
import stat
import sys
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.client.bundle import packed
from opengrid.client.remote import Access, fetch, list_refs
from opengrid.client.tree import Tree, read_commit
from opengrid.core.errors import InvalidValue, NotFound
from opengrid.core.files import folder_size
from opengrid.core.spec import Place, Program, ProgramKind, RunSpec, Source
from opengrid.planning.dependencies import find_dependencies
from opengrid.planning.link import Link, divide, parse_link
from opengrid.planning.own_packages import TreeFiles
from opengrid.planning.pruning import Bounds, Kept, to_remove
from opengrid.services.sources import texts

_BLOCK = 1 << 20

#: Trees that are remembered, so that a plan and the run after it pack once.
_REMEMBERED = 100


class Links:
    """Fetches repositories into a folder of the server, which is only a cache.

    `token_of` tells the token that a user has stored for a host; `shell` is what ranks see of a shell where nobody
    typed a command. Of the repositories, prune() keeps what is within `bounds`.
    """

    def __init__(
        self,
        blobs: Blobs,
        folder: Path,
        access: Access,
        *,
        token_of: Callable[[str, str], str | None],
        shell: Mapping[str, str],
        bounds: Bounds,
    ) -> None:
        self._blobs, self._folder, self._access = blobs, folder, access
        self._token_of, self._shell, self._bounds = token_of, shell, bounds
        self._packed: OrderedDict[tuple[str, str], tuple[Source, frozenset[str]]] = OrderedDict()
        self._fetching: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    def completed(self, spec: RunSpec, user: str) -> RunSpec:
        """Return a request with the tree and the program that its link names; any other one as it is.

        Blocks while git fetches. Errors name the nearest branch or file.
        """
        if spec.source.link is None or spec.source.bundle is not None:
            return spec
        link, ref, wanted, access = self._followed(spec.source.link, user)
        source, paths = self._source(link.url, wanted, access)
        program = _program(spec.program, link, paths)
        path = "" if program.kind is ProgramKind.MODULE else posixpath.normpath(program.target)
        source = dataclasses.replace(
            source,
            link=spec.source.link,
            place=Place(url=link.url, ref=ref, commit=source.commit or "", path=path),
        )
        with texts(self._blobs.path(source.bundle or "")) as text_of:
            needed = find_dependencies(TreeFiles(paths, text_of), spec.dependency_file)
        return dataclasses.replace(
            spec,
            source=source,
            program=program,
            dependencies=needed,
            python=spec.python or sys.executable,
            shell=spec.shell or dict(self._shell),
        )

    def place(self, typed: str, user: str) -> Place:
        """Return where a link leads, whether or not it names a script. Blocks while git asks for branches."""
        link, ref, _, _ = self._followed(typed, user)
        return Place(url=link.url, ref=ref, commit="", path=link.path)

    def prune(self, *, now_s: float) -> list[str]:
        """Remove repositories that are beyond the bounds; return the names of their folders."""
        kept = [
            Kept(name=folder.name, size=folder_size(folder), used_s=folder.stat().st_mtime)
            for folder in (self._folder.iterdir() if self._folder.is_dir() else ())
        ]
        gone: list[str] = []
        for name in to_remove(kept, self._bounds, now_s=now_s):
            if self._fetching[name].acquire(blocking=False):  # else it is used just now
                try:
                    shutil.rmtree(self._folder / name, ignore_errors=True)
                    gone.append(name)
                finally:
                    self._fetching[name].release()
        return gone

    def _followed(self, typed: str, user: str) -> tuple[Link, str, str, Access]:
        """Return a link's parts, its branch, tag or commit, what to fetch for that, and how."""
        link = parse_link(typed)
        access = dataclasses.replace(self._access, token=self._token_of(user, link.host))
        refs = list_refs(link.url, access)
        link = divide(link, refs.names)
        ref = link.ref or refs.default
        if ref is None:
            raise NotFound(f"{link.url} has no commit yet", field="link")
        return link, ref, refs.names.get(ref, ref), access

    def _source(self, url: str, wanted: str, access: Access) -> tuple[Source, frozenset[str]]:
        """Fetch and pack what is not here yet."""
        repository = self._folder / hashlib.sha256(url.encode()).hexdigest()[:24]
        with self._fetching[repository.name]:
            if repository.exists() and folder_size(repository) > access.size_limit / 2:
                shutil.rmtree(repository, ignore_errors=True)  # of commits that were fetched before, for the most part
            try:
                commit = fetch(repository, url, wanted, access)
                os.utime(repository)
            except BaseException:
                shutil.rmtree(repository, ignore_errors=True)  # it may be half, or too large
                raise
            key = (url, commit)
            known = self._packed.get(key)
            if known is not None and known[0].bundle is not None and self._blobs.exists(known[0].bundle):
                return known
            tree = read_commit(repository, commit, limit=access.size_limit)
            found = self._pack(tree, url), frozenset(f.path for f in tree.files if not stat.S_ISDIR(f.mode))
        self._packed[key] = found
        while len(self._packed) > _REMEMBERED:
            self._packed.popitem(last=False)
        return found

    def _pack(self, tree: Tree, url: str) -> Source:
        with packed(tree) as bundle:
            if not self._blobs.exists(bundle.digest):
                with self._blobs.writing(bundle.digest) as writer:
                    while block := bundle.file.read(_BLOCK):
                        writer.write(block)
            return Source(
                bundle=bundle.digest, root=url, kind="git", commit=tree.commit, files=tree.count, size=tree.size
            )


def _program(typed: Program, link: Link, paths: frozenset[str]) -> Program:
    """Return the program as seen from the repository's root; NotFound names the nearest file."""
    if typed.kind is ProgramKind.MODULE:
        return typed
    if link.is_file and typed.target:
        raise InvalidValue(f"the link names {link.path} already, and {typed.target} is named too", field="script")
    if not link.is_file and not typed.target:
        offer = ", ".join(_scripts(paths, link.path))
        raise InvalidValue(
            f"the link names no script in {link.url}",
            hint=f"name one after the link: {offer}" if offer else "name one after the link",
            field="script",
        )
    path = link.path if link.is_file else posixpath.normpath(posixpath.join(link.path, typed.target))
    if path not in paths:
        near = difflib.get_close_matches(path, sorted(paths), n=3, cutoff=0.5)
        offer = near or [p for p in sorted(paths) if posixpath.basename(p) == posixpath.basename(path)]
        raise NotFound(
            f"there is no {path} in {link.url} at {link.ref or 'its default branch'}",
            hint=f"did you mean {', '.join(offer[:3])}?" if offer else None,
            field="link" if link.is_file else "script",
        )
    if path.endswith(".py"):
        return dataclasses.replace(typed, kind=ProgramKind.SCRIPT, target=path)
    return dataclasses.replace(typed, kind=ProgramKind.EXECUTABLE, target=path if "/" in path else f"./{path}")


def _scripts(paths: frozenset[str], folder: str) -> Sequence[str]:
    below = [path for path in sorted(paths) if path.endswith(".py") and path.startswith(f"{folder}/" if folder else "")]
    return sorted((posixpath.relpath(path, folder or ".") for path in below), key=lambda path: path.count("/"))[:3]
