"""A request to start a run: the tree is packed and sent, then the request is complete."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.client.api import Api
from opengrid.client.bundle import packed
from opengrid.client.program import Typed
from opengrid.client.tree import Tree
from opengrid.core.spec import Program, RunSpec, Source

if TYPE_CHECKING:
    from opengrid.client.documents import CreatedDocument

_MUCH = 16 << 20


def source_of(tree: Tree) -> Source:
    """Return a tree as a request describes it before anything was sent."""
    return Source(
        bundle=None,
        root=str(tree.root),
        directory=tree.directory,
        kind=tree.kind,
        commit=tree.commit,
        modified=tree.modified,
        files=tree.count,
        size=tree.size,
    )


def program_of(typed: Typed, tree: Tree) -> Program:
    """Return the program as seen from the folder of the tree in which it starts."""
    return typed.program(Path(tree.root, tree.directory))


def start_run(api: Api, spec: RunSpec, tree: Tree | None) -> CreatedDocument:
    """Send what the server does not have of the tree yet, and start the run. Blocks while sending.

    Before much is sent the plan is asked for: what cannot run is refused at once. Without a tree the server fetches
    one, from the link of the request.
    """
    if tree is None:
        return api.create_run(spec)
    if tree.size > _MUCH:
        api.plan(spec)
    patch = hashlib.sha256(tree.patch).hexdigest() if tree.patch else None
    with packed(tree) as bundle:
        api.send_blob(bundle.digest, bundle.file)
        if patch is not None:
            api.send_blob(patch, tree.patch)
        source = dataclasses.replace(spec.source, bundle=bundle.digest, patch=patch)
        return api.create_run(dataclasses.replace(spec, source=source))
