"""Where the artifacts of one experiment's nodes lie beside one another, in a folder or a zip file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import PurePosixPath


def place_files(files: Sequence[tuple[int, str]]) -> list[str]:
    """Return a path for each (node, path), all different, none below another.

    A file lies at its own path; where several nodes have that, the first node's does and the others' lie below
    `node<i>/`. So does what cannot lie at its own path because of another file or folder there.
    """
    taken: set[str] = set()
    folders: set[str] = set()
    placed = [""] * len(files)
    for index in sorted(range(len(files)), key=lambda i: files[i]):
        for candidate in _candidates(*files[index]):
            above = [str(folder) for folder in PurePosixPath(candidate).parents]
            if candidate not in taken and candidate not in folders and taken.isdisjoint(above):
                taken.add(candidate)
                folders.update(above)
                placed[index] = candidate
                break
    return placed


def _candidates(node: int, path: str) -> Iterator[str]:
    yield path
    for more in count():
        yield f"node{node}{'_' * more}/{path}"
