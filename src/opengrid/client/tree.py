"""The user's tree: which files run, as they are on disk or as they were committed."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.client import git
from opengrid.core.credentials import is_credential
from opengrid.core.errors import InvalidValue, Unusable
from opengrid.core.names import named
from opengrid.core.sizes import size_text

#: Largest tree that is sent, in bytes, unless another limit is chosen. Data belongs into datastores.
SIZE_LIMIT = 1 << 30

#: Folders that are never part of a plain copy: they are made again, or are of no use elsewhere.
_LEFT_OUT = frozenset({".git", "__pycache__"})

#: What says in a plain folder what of it is left out: the first one alone, without it the others.
IGNORING = (".gridignore", ".gitignore", ".dockerignore")

#: A folder that holds one of these is an environment of Python packages, not code of the user's.
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")

#: Once a tree is known to be too large, looking for its largest parts ends after this long.
_LOOK_S = 2.0


#: Most bytes of new files that the difference to the commit tells; the smallest come first.
_MOST_NEW = 512 << 10

#: Most files that a difference names because it does not tell them.
_MOST_NAMED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeFile:
    """One file, folder or link of a tree."""

    path: str  #: relative, with `/`
    mode: int  #: as of lstat: kind and permissions
    size: int = 0
    link: str | None = None  #: where a link points, relative to its folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """What will run."""

    root: Path
    directory: str  #: the folder in which the program starts, relative to `root`
    files: tuple[TreeFile, ...]  #: sorted by path
    kind: str = "folder"  #: git | folder
    commit: str | None = None
    is_committed: bool = False  #: contents come from the commit, not from the disk
    patch: bytes = b""  #: difference to the commit, for `git apply`; names before it what only the bundle has
    modified: int = 0  #: files that differ from the commit, new ones included
    notes: tuple[str, ...] = ()  #: what the user should know: left out, moved

    @property
    def size(self) -> int:
        """Sum of the files' sizes in bytes."""
        return sum(file.size for file in self.files)

    @property
    def count(self) -> int:
        """Number of files and links."""
        return sum(not stat.S_ISDIR(file.mode) for file in self.files)

    def __contains__(self, path: object) -> bool:
        """Return whether a relative path is a file or link of the tree."""
        return any(file.path == path for file in self.files)


def read_tree(
    cwd: Path,
    script: Path | None,
    *,
    localdir: bool = False,
    committed: bool = False,
    exclude: Collection[Path] = (),
    ignored: Callable[[Path], Callable[[str], bool] | None] = lambda _: None,
    limit: int = SIZE_LIMIT,
) -> Tree:
    """Return the tree that a command typed in `cwd` runs.

    `script` is the file that it names, None for a module or a command; both are absolute, with links resolved.

    In a git checkout: the whole repository that the script lies in. Elsewhere, and with `localdir`: the folder `cwd`.
    `exclude` are folders that are never part of it; `ignored` tells of a plain folder what in it is left out, by paths
    relative to it, with `/` at the end of a folder's. Raises a GridError that says what to do when the script lies
    outside, or the tree is too large.
    """
    top = None if localdir else git.find_top(script.parent if script else cwd)
    if top is None:
        if committed:
            raise InvalidValue(f"--committed: {cwd} lies in no git repository", field="committed")
        tree = _read_folder(cwd, exclude, ignored(cwd), limit)
        if not localdir and (cwd / ".git").exists():
            note = f"git sees no repository in {cwd / '.git'}: what runs is the folder, and no commit is recorded"
            tree = dataclasses.replace(tree, notes=(*tree.notes, note))
    elif committed:
        tree = read_commit(top, git.read_head(top), directory=_directory(cwd, top), limit=limit)
    else:
        tree = _read_checkout(top, _directory(cwd, top), exclude, limit)
    if script is not None:
        _check_script(tree, script)
    if top is not None and not _is_inside(cwd, top):
        note = f"{cwd} is no part of the repository {top}: the program starts at that repository's root"
        tree = dataclasses.replace(tree, notes=(*tree.notes, note))
    if credentials := [file.path for file in tree.files if is_credential(file.path)]:
        note = f"credentials, by their names, are sent with the code: {named(credentials)}; {_way_out(tree)}"
        tree = dataclasses.replace(tree, notes=(*tree.notes, note))
    return tree


def _way_out(tree: Tree) -> str:
    """Return how a file is left out of a tree."""
    if tree.kind == "git":
        return "a line in .gitignore leaves new files out, `git rm --cached FILE` one that git tracks"
    # A .gridignore that is made now would take the place of the others.
    name = next((name for name in IGNORING if (tree.root / name).is_file()), IGNORING[0])
    return f"a line in {name} leaves them out"


def read_commit(top: Path, commit: str, *, directory: str = ".", limit: int = SIZE_LIMIT) -> Tree:
    """Return the tree of one commit of a checkout or a bare repository; Unusable when it is too large."""
    listed = git.read_commit(top, commit)
    submodules = [file.path for file in listed if stat.S_IFMT(file.mode) == 0o160000]
    files = [
        TreeFile(path=file.path, mode=file.mode, size=file.size)
        for file in listed
        if stat.S_IFMT(file.mode) in (stat.S_IFREG, stat.S_IFLNK)
    ]
    _check_size(files, limit, top)
    return Tree(
        root=top,
        directory=directory,
        files=_complete(files, directory),
        kind="git",
        commit=commit,
        is_committed=True,
        notes=tuple(f"left out: {path}/, a submodule" for path in submodules),
    )


def _read_checkout(top: Path, directory: str, exclude: Collection[Path], limit: int) -> Tree:
    checkout = git.read_checkout(top)
    unwanted = tuple(f"{os.path.relpath(folder, top)}/" for folder in _real(exclude) if _is_inside(folder, top))
    notes: list[str] = []
    files: list[TreeFile] = []
    for path in (*checkout.tracked, *checkout.untracked):
        if path.startswith(unwanted):
            continue
        file = _read_file(top, path.rstrip("/"), notes)
        if file is None:
            continue  # deleted, but not yet from the index
        if stat.S_ISDIR(file.mode):
            notes.append(f"left out: {file.path}/, a repository of its own inside this one")
        else:
            files.append(file)
    _check_size(files, limit, top)
    return Tree(
        root=top,
        directory=directory,
        files=_complete(files, directory),
        kind="git",
        commit=checkout.commit,
        patch=_patch(top, checkout, files),
        modified=len(set(checkout.changed).union(checkout.untracked)),
        notes=tuple(notes),
    )


def _patch(top: Path, checkout: git.Checkout, files: Iterable[TreeFile]) -> bytes:
    """Return all of a tree's difference to its commit, new files included, but for those that it names."""
    new = set(checkout.untracked)
    told: list[str] = []
    left_out: list[TreeFile] = []
    room = _MOST_NEW
    for file in sorted((file for file in files if file.path in new), key=lambda file: file.size):
        is_readable = file.link is not None or os.access(top / file.path, os.R_OK)  # else packing it says so
        if file.size <= room and is_readable and not is_credential(file.path):
            room -= file.size
            told.append(file.path)
        else:
            left_out.append(file)
    if checkout.commit is None or not (told or left_out):
        return checkout.patch
    named = [f"{json.dumps(file.path, ensure_ascii=False)} ({size_text(file.size)})" for file in left_out]
    if len(named) > _MOST_NAMED:
        named[_MOST_NAMED:] = [f"{len(named) - _MOST_NAMED} other new files"]
    head = "".join(f"only in the bundle: {name}\n" for name in named)
    return os.fsencode(head) + checkout.patch + (git.patch_of_new(top, checkout.commit, told) if told else b"")


def _read_folder(root: Path, exclude: Collection[Path], ignored: Callable[[str], bool] | None, limit: int) -> Tree:
    notes: list[str] = []
    files: list[TreeFile] = []
    total, deadline = 0, None
    for path in _walk(root, {str(folder) for folder in _real(exclude)}, ignored or (lambda _: False), notes):
        file = _read_file(root, path, notes)
        if file is None:
            continue
        files.append(file)
        total += file.size
        if total > limit:
            deadline = deadline or time.monotonic() + _LOOK_S
            if time.monotonic() > deadline:
                break
    _check_size(files, limit, root)
    return Tree(root=root, directory=".", files=_complete(files, "."), notes=tuple(notes))


def _walk(root: Path, exclude: Collection[str], ignored: Callable[[str], bool], notes: list[str]) -> Iterator[str]:
    """Yield the paths of everything below a folder but what is left out; folders too, so that empty ones are kept."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        try:
            entries = sorted(os.scandir(root / folder), key=lambda entry: entry.name)
        except OSError as error:
            notes.append(f"left out: {folder or root}, it cannot be read ({error.strerror})")
            continue
        if folder and any(entry.name in _ENVIRONMENTS for entry in entries):
            notes.append(f"left out: {folder}/, a Python environment")
            continue
        if folder:
            yield folder
        for entry in entries:
            path = f"{folder}/{entry.name}" if folder else entry.name
            if entry.name in _LEFT_OUT or os.path.join(root, path) in exclude:
                continue
            is_folder = entry.is_dir(follow_symlinks=False)
            if ignored(f"{path}/" if is_folder else path):
                continue
            if is_folder:
                waiting.append(path)
            else:
                yield path


def _read_file(root: Path, path: str, notes: list[str]) -> TreeFile | None:
    """Look at one path; None, with a note where that may surprise, when it is no part of the tree."""
    try:
        status = os.lstat(root / path)
        if stat.S_ISLNK(status.st_mode):
            return _read_link(root, path, os.readlink(root / path), status.st_mode, notes)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISREG(status.st_mode):
        return TreeFile(path=path, mode=status.st_mode, size=status.st_size)
    if stat.S_ISDIR(status.st_mode):
        return TreeFile(path=path, mode=status.st_mode)
    notes.append(f"left out: {path}, which is no file, folder or link")
    return None


def _read_link(root: Path, path: str, points_to: str, mode: int, notes: list[str]) -> TreeFile | None:
    """Keep a link that stays inside the tree, relative so that it stays inside the copy too."""
    folder = os.path.dirname(os.path.join(root, path))
    target = os.path.normpath(os.path.join(folder, points_to))
    if not _is_inside(Path(target), root):
        notes.append(f"left out: {path}, a link to {points_to} outside the tree (`grid datastore create` is for data)")
        return None
    return TreeFile(path=path, mode=mode, link=os.path.relpath(target, folder))


def _complete(files: Iterable[TreeFile], directory: str) -> tuple[TreeFile, ...]:
    """Sort, and make sure that the folder in which the program starts exists."""
    by_path = {file.path: file for file in files}
    if directory != ".":
        by_path.setdefault(directory, TreeFile(path=directory, mode=stat.S_IFDIR | 0o755))
    return tuple(by_path[path] for path in sorted(by_path))


def _check_script(tree: Tree, script: Path) -> None:
    path = os.path.relpath(script, tree.root)
    if not _is_inside(script, tree.root):
        raise InvalidValue(
            f"{script} lies outside the folder that is sent, {tree.root}",
            hint=f"cd {script.parent} first: without git, what runs is the folder in which the command is typed",
            field="script",
        )
    if path in tree:
        return
    if tree.is_committed:
        raise InvalidValue(
            f"{path} is not in the commit {(tree.commit or '')[:10]}", hint="commit it first", field="script"
        )
    if tree.kind == "git":
        raise InvalidValue(
            f"git ignores {path}, so it is no part of what runs",
            hint=f"`git add -f {path}`, or --localdir takes the folder as it is",
            field="script",
        )
    raise InvalidValue(
        f"{path} is left out of what is sent",
        hint="does .gridignore, .gitignore or .dockerignore name it? Else move it to another folder",
        field="script",
    )


def _check_size(files: Sequence[TreeFile], limit: int, root: Path) -> None:
    total = sum(file.size for file in files)
    if total <= limit:
        return
    named = ", ".join(f"{path} ({size_text(size)})" for path, size in _largest(files))
    raise Unusable(
        f"the tree at {root} has at least {size_text(total)}, more than {size_text(limit)}; its largest parts: {named}",
        hint="`grid datastore create` is for data; what git ignores is not sent; GRID_SOURCE_LIMIT=2GiB allows more",
    )


def _largest(files: Sequence[TreeFile], count: int = 3) -> list[tuple[str, int]]:
    """Return the largest paths: folders, and inside a folder that is nearly all of it what makes it so."""
    sizes, children = Counter[str](), dict[str, set[str]]()
    for file in files:
        parts = file.path.split("/")
        for depth in range(1, len(parts) + 1):
            path = "/".join(parts[:depth])
            sizes[path] += file.size
            children.setdefault("/".join(parts[: depth - 1]), set()).add(path)
    found = sorted(children.get("", ()), key=lambda path: -sizes[path])[:count]
    return [(inner, sizes[inner]) for inner in (_heaviest(path, sizes, children) for path in found)]


def _heaviest(path: str, sizes: Mapping[str, int], children: Mapping[str, set[str]]) -> str:
    if path not in children:
        return path
    child = max(children[path], key=lambda inner: sizes[inner])
    return _heaviest(child, sizes, children) if sizes[child] > 0.9 * sizes[path] else path


def read_text(tree: Tree, path: str) -> str | None:
    """Return the text of a file of the tree, as it will run; None when there is no such file."""
    file = next((file for file in tree.files if file.path == path and not stat.S_ISDIR(file.mode)), None)
    if file is None:
        return None
    if tree.is_committed:
        return git.read_file(tree.root, tree.commit or "HEAD", path).decode(errors="replace")
    return (tree.root / path).read_text(errors="replace")


def _directory(cwd: Path, top: Path) -> str:
    return os.path.relpath(cwd, top) if _is_inside(cwd, top) else "."


def _real(folders: Iterable[Path]) -> list[Path]:
    return [Path(os.path.realpath(folder)) for folder in folders]


def _is_inside(path: Path, root: Path) -> bool:
    return path == root or root in path.parents
