"""What git says about a checkout. Reads only: no lock is taken, no hook, pager or diff program of the user runs."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from opengrid.core.errors import GridError, Unusable

_TIMEOUT_S = 60.0

#: A commit whose list of files is longer is no code.
_MOST_LISTED = 64 << 20

#: The tree without files, which every repository has, by the length of its digests.
_EMPTY_TREES = {
    40: "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    64: "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}

#: Variables that would make git look at another repository than the one of the folder.
_MISLEADING = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """Files of a checkout: what is on disk now, and how that differs from the commit."""

    commit: str | None  #: None before the first commit
    tracked: tuple[str, ...]  #: paths in the index, submodules included
    untracked: tuple[str, ...]  #: new ones that are not ignored; with a last `/` a repository inside this one
    changed: tuple[str, ...]  #: tracked paths that differ from the commit
    patch: bytes  #: `git diff` to the commit, binary files included, of what is tracked


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedFile:
    """One path of a commit."""

    path: str
    mode: int  #: as git has it: 0o100644, 0o100755, 0o120000 a link, 0o160000 a submodule
    size: int


def find_top(folder: Path) -> Path | None:
    """Return the top of the checkout that holds `folder`, None when none does.

    Unusable when there is one that git refuses to read.
    """
    if not any(os.path.exists(above / ".git") for above in (folder, *folder.parents)):
        return None
    done = _finish(_start(folder, "rev-parse", "--show-toplevel"), folder)
    if done.code == 0:
        return Path(os.fsdecode(done.out.removesuffix(b"\n")))
    said = done.err.decode(errors="replace").strip()
    if "dubious ownership" in said:
        raise Unusable(
            f"git refuses to read the repository of {folder}, because it belongs to another user",
            hint="`git config --global --add safe.directory FOLDER` trusts it; --localdir does without git",
        )
    if "not a git repository" in said or "must be run in a work tree" in said:
        return None
    raise Unusable(
        f"git cannot read the repository of {folder}: {said}", hint="--localdir takes the folder without git"
    )


def read_checkout(top: Path) -> Checkout:
    """Return the state of the checkout whose top folder is given."""
    # All at once: each is a process that mostly waits for the disk.
    head = _start(top, "rev-parse", "--quiet", "--verify", "HEAD^{commit}")
    tracked = _start(top, "ls-files", "-z", "--cached")
    untracked = _start(top, "ls-files", "-z", "--others", "--exclude-standard")
    names = _start(top, *_DIFF, "--name-only", "-z", "HEAD")
    patch = _start(top, *_DIFF, "--binary", "HEAD")
    commit = _finish(head, top)
    has_commit = commit.code == 0
    read = [_finish(process, top) for process in (tracked, untracked)]
    diffs = [_finish(process, top) for process in (names, patch)]
    for done in [*read, *(diffs if has_commit else [])]:
        done.check()
    return Checkout(
        commit=commit.out.decode().strip() if has_commit else None,
        tracked=_paths(read[0].out),
        untracked=_paths(read[1].out),
        changed=_paths(diffs[0].out) if has_commit else _paths(read[0].out),
        patch=diffs[1].out if has_commit else b"",
    )


def patch_of_new(top: Path, commit: str, paths: Iterable[str]) -> bytes:
    """Return the patch that makes these files and links, which are not tracked; as `git diff` would if they were.

    In an index of its own: the user's stays as it is. `commit` is any of the repository's.
    """
    nothing = _EMPTY_TREES[len(commit)]
    with tempfile.TemporaryDirectory(prefix="grid-index-") as folder:
        index, listed = os.path.join(folder, "index"), Path(folder, "paths")
        # No content has that digest, so that git looks at each of them.
        listed.write_bytes(b"".join(os.fsencode(f"100644 {nothing}\t{path}\0") for path in paths))
        with listed.open("rb") as entries:
            _finish(_start(top, "update-index", "-z", "--index-info", stdin=entries, index=index), top).check()
        return _finish(_start(top, *_DIFF, "--binary", nothing, index=index), top).check().out


def read_head(top: Path) -> str:
    """Return the checked-out commit; Unusable when there is none yet."""
    head = _finish(_start(top, "rev-parse", "--quiet", "--verify", "HEAD^{commit}"), top)
    if head.code != 0:
        raise Unusable(f"{top} has no commit yet", hint="commit first, or leave --committed out")
    return head.out.decode().strip()


def read_commit(top: Path, commit: str) -> tuple[CommittedFile, ...]:
    """Return what is in a commit of a checkout or a bare repository; Unusable when that is more than can be.

    A commit of a few kilobytes can name the same folder billions of times.
    """
    process = _start(top, "ls-tree", "-r", "-z", "-l", "--full-tree", commit)
    if process.stdout is None:
        raise AssertionError("started with a pipe")
    timer = threading.Timer(_TIMEOUT_S, process.kill)
    timer.start()
    try:
        listed = process.stdout.read(_MOST_LISTED + 1)
    finally:
        timer.cancel()
    if len(listed) > _MOST_LISTED:
        process.kill()
        process.communicate()
        raise Unusable(
            f"the commit {commit[:10]} of {top} has too many files: their list has over {_MOST_LISTED >> 20} MiB",
            hint="`grid datastore create` is for data",
        )
    _finish(process, top).check()
    return tuple(_committed(line) for line in listed.split(b"\0") if line)


def read_file(top: Path, commit: str, path: str) -> bytes:
    """Return the content of one file of a commit."""
    return _finish(_start(top, "cat-file", "blob", f"{commit}:{path}"), top).check().out


def open_archive(top: Path, commit: str) -> subprocess.Popen[bytes]:
    """Start writing a commit as a tar file to the process's stdout, by the rules of `git archive`."""
    return _start(top, "archive", "--format=tar", commit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Done:
    code: int
    out: bytes
    err: bytes

    def check(self) -> _Done:
        if self.code != 0:
            said = self.err.decode(errors="replace").strip()
            raise GridError(f"git failed: {said}", hint="--localdir takes the folder without git")
        return self


#: Nothing that the user's settings change in how a difference looks.
_DIFF = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--ignore-submodules=dirty")


def _start(
    folder: Path, *arguments: str, stdin: IO[bytes] | None = None, index: str | None = None
) -> subprocess.Popen[bytes]:
    kept = {name: value for name, value in os.environ.items() if name not in _MISLEADING}
    if index is not None:
        kept["GIT_INDEX_FILE"] = index
    try:
        return subprocess.Popen(
            ["git", "-c", "core.quotePath=false", *arguments],
            cwd=folder,
            env={**kept, "GIT_OPTIONAL_LOCKS": "0", "GIT_PAGER": "cat", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except FileNotFoundError:
        raise Unusable(
            f"{folder} lies in a git repository, but there is no git here",
            hint="install git, or --localdir takes the folder without it",
        ) from None


def _finish(process: subprocess.Popen[bytes], folder: Path) -> _Done:
    try:
        out, err = process.communicate(timeout=_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise GridError(
            f"git took over {_TIMEOUT_S:.0f} s in {folder}",
            hint="--localdir takes the folder without git; does a large folder lack its line in .gitignore?",
        ) from None
    return _Done(code=process.returncode, out=out, err=err)


def _paths(listed: bytes) -> tuple[str, ...]:
    return tuple(dict.fromkeys(os.fsdecode(path) for path in listed.split(b"\0") if path))


def _committed(line: bytes) -> CommittedFile:
    about, _, path = line.partition(b"\t")
    mode, _, _, size = about.split()
    return CommittedFile(path=os.fsdecode(path), mode=int(mode, 8), size=0 if size == b"-" else int(size))
