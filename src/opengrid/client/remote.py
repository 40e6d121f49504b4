"""What git brings from another host: the branches and tags of a repository, and one commit of it.

Nothing of what comes is executed: no hook, filter or submodule; no prompt is shown; time and size are limited.
"""

from __future__ import annotations

import base64
import contextlib
import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from opengrid.core.errors import GridError, InvalidValue, NotFound, Unusable
from opengrid.core.files import folder_size

_LOOK_S = 0.05

#: A repository that says more of its branches and tags says it to fill the disk.
_MOST_SAID = 32 << 20

#: What the user's shell may say about another repository, or about asking somebody.
_DROPPED = re.compile(r"GIT_(?!CONFIG_|SSH|SSL_|HTTP_|PROXY_|EXEC_PATH)\w+|SSH_ASKPASS|DISPLAY|WAYLAND_DISPLAY")

_COMMAND = (
    *("git", "-c", "core.hooksPath=/dev/null", "-c", "gc.auto=0", "-c", "maintenance.auto=false"),
    *("-c", "submodule.recurse=false", "-c", "fetch.recurseSubmodules=false", "-c", "fetch.prune=false"),
)

_FETCH = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--force")

#: Characters of a commit's id that is not shortened.
_WHOLE = 40

#: Contents come as they were committed: whatever .gitattributes would have done to them is undone.
_ATTRIBUTES = "* -text -filter -ident -working-tree-encoding -export-ignore -export-subst\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How other hosts may be spoken to."""

    protocols: tuple[str, ...] = ("https", "ssh")
    timeout_s: float = 300.0
    size_limit: int = 1 << 30  #: most bytes that a repository may bring
    environment: Mapping[str, str] = field(default_factory=dict[str, str])  #: PATH, HOME, proxies …
    as_user: bool = False  #: git's own settings and credentials count, of the user whose server this is
    token: str | None = None  #: for https: `token` or `user:token`


@dataclass(frozen=True, slots=True, kw_only=True)
class Refs:
    """The branches and tags of a repository."""

    default: str | None  #: the branch that it opens with
    names: Mapping[str, str]  #: by short name, the full one (`refs/heads/main`); a branch comes before a tag


def list_refs(url: str, access: Access) -> Refs:
    """Ask a repository for its branches and tags; NotFound or Unusable, in words, when that cannot be."""
    said = _git(["ls-remote", "--symref", "--", url, "HEAD", "refs/heads/*", "refs/tags/*"], access, url)
    default, names = None, dict[str, str]()
    for line in said.splitlines():
        value, _, name = line.partition("\t")
        if name == "HEAD" and value.startswith("ref: refs/heads/"):
            default = value.removeprefix("ref: refs/heads/")
        for kind in ("refs/heads/", "refs/tags/"):
            if name.startswith(kind) and not name.endswith("^{}"):
                names.setdefault(name.removeprefix(kind), name)
    return Refs(default=default, names=names)


def fetch(repository: Path, url: str, wanted: str, access: Access) -> str:
    """Bring one commit into a bare repository of ours, made when there is none; return the commit's full id.

    `wanted` is a full name of a ref, or a commit, which may be shortened. Not for two threads at once.
    """
    if not (repository / "HEAD").exists():
        repository.mkdir(parents=True, exist_ok=True)
        _git(["init", "--quiet", "--bare", "--template=", "."], access, url, repository)
        (repository / "info").mkdir(exist_ok=True)
        (repository / "info" / "attributes").write_text(_ATTRIBUTES)
    if wanted.startswith("refs/"):
        commit = _fetch_one(repository, url, wanted, access)
    elif len(wanted) >= _WHOLE:
        commit = _commit(repository, f"refs/grid/{wanted}", access, url) or _fetch_commit(
            repository, url, wanted, access
        )
    else:
        commit = _fetch_from_all(repository, url, wanted, access)
    if commit is None:
        raise NotFound(f"{url} has no commit {wanted}", hint="is it on a branch there?", field="link")
    _git(["update-ref", f"refs/grid/{commit}", commit], access, url, repository)
    return commit


def _fetch_commit(repository: Path, url: str, commit: str, access: Access) -> str | None:
    try:
        return _fetch_one(repository, url, commit, access)
    except NotFound:  # hosts need not give a commit by its id
        return _fetch_from_all(repository, url, commit, access)


def _fetch_one(repository: Path, url: str, wanted: str, access: Access) -> str | None:
    """Bring one commit without its history."""
    _git([*_FETCH, "--depth=1", "--", url, f"{wanted}:refs/grid/new"], access, url, repository)
    return _commit(repository, "refs/grid/new", access, url)


def _fetch_from_all(repository: Path, url: str, wanted: str, access: Access) -> str | None:
    """Bring all branches and tags with their history, and find a commit in them."""
    deepen = ["--unshallow"] if (repository / "shallow").exists() else []
    everything = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
    _git([*_FETCH, *deepen, "--", url, *everything], access, url, repository)
    return _commit(repository, wanted, access, url)


def _commit(repository: Path, name: str, access: Access, url: str) -> str | None:
    try:
        return _git(["rev-parse", "--quiet", "--verify", f"{name}^{{commit}}"], access, url, repository).strip()
    except NotFound:
        return None


def _git(arguments: list[str], access: Access, url: str, repository: Path | None = None) -> str:
    """Run git to its end within the limits; return what it printed."""
    deadline = time.monotonic() + access.timeout_s
    where = ["--git-dir", "."] if repository is not None and arguments[0] != "init" else []
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            process = subprocess.Popen(
                [*_COMMAND, *where, *arguments],
                cwd=repository or "/",
                env=_environment(access, url),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except FileNotFoundError:
            raise Unusable("there is no git on the server", hint="install git there") from None
        try:
            while process.poll() is None:
                if time.monotonic() > deadline:
                    raise Unusable(f"{url} did not come within {access.timeout_s:.0f} s", field="link")
                _check_size(repository, access, url)
                if os.fstat(out.fileno()).st_size > _MOST_SAID:
                    raise Unusable(f"{url} has too many branches and tags", field="link")
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK_S)
            _check_size(repository, access, url)  # what came since the last look
        finally:
            if process.returncode is None:  # git's helpers too
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        out.seek(0)
        err.seek(0)
        if process.returncode != 0:
            raise _explained(err.read().decode(errors="replace"), url, access)
        return out.read().decode(errors="replace")


def _environment(access: Access, url: str) -> dict[str, str]:
    kept = {name: value for name, value in access.environment.items() if not _DROPPED.fullmatch(name)}
    ours = {
        "GIT_ALLOW_PROTOCOL": ":".join(access.protocols),
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",  # asks nobody
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "LC_ALL": "C",
    }
    if not access.as_user:
        kept = {name: value for name, value in kept.items() if not name.startswith(("GIT_CONFIG", "SSH_"))}
        ours |= {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull, "HOME": "/nonexistent"}
    if access.token is not None and url.startswith("https://"):
        user, colon, token = access.token.partition(":")
        pair = f"{user}:{token}" if colon else f"{_user_of_token(url)}:{user}"
        number = int(kept.get("GIT_CONFIG_COUNT", "0"))
        site = "/".join(url.split("/")[:3])
        ours |= {  # not on the command line, where everybody sees it
            "GIT_CONFIG_COUNT": str(number + 1),
            f"GIT_CONFIG_KEY_{number}": f"http.{site}/.extraHeader",
            f"GIT_CONFIG_VALUE_{number}": f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}",
        }
    return {**kept, **ours}


def _user_of_token(url: str) -> str:
    return "x-token-auth" if url.startswith("https://bitbucket.org/") else "x-access-token"


def _check_size(repository: Path | None, access: Access, url: str) -> None:
    if repository is not None and folder_size(repository) > access.size_limit:
        raise Unusable(f"{url} has more than {access.size_limit >> 20} MiB", hint="data belongs into datastores")


def _explained(said: str, url: str, access: Access) -> GridError:
    """Return git's complaint in our words."""
    host = re.sub(r"^(?:\w+://)?(?:[^@/]*@)?([^/:]*).*", r"\1", url)
    if re.search(r"transport '\w+' not allowed", said):
        return InvalidValue(
            f"{url} is not fetched: this server speaks {' and '.join(access.protocols)} only", field="link"
        )
    if re.search(
        r"[Cc]ould not resolve host|Name or service not known|[Cc]onnection (timed out|refused)|Failed to connect", said
    ):
        return Unusable(f"the server does not reach {host}: {_last_line(said)}", hint="is its name right?")
    if re.search(
        r"could not read (Username|Password)|[Aa]uthentication failed|Permission denied|not found|"
        r"Host key verification|HTTP 40[13]|error: 40[13]|does not (exist|appear)|Could not read from remote",
        said,
    ):
        hint = None
        if access.token is not None and url.startswith("https://"):
            hint = f"the token that is stored as git@{host} may not read it: `grid secret set git@{host}` replaces it"
        elif host:
            hint = f"if it is private: `grid secret set git@{host}` stores a token that may read it"
        return NotFound(f"{url} cannot be read: {_last_line(said)}", hint=hint, field="link")
    return NotFound(f"git cannot read {url}: {_last_line(said)}", field="link")


def _last_line(said: str) -> str:
    lines = said.splitlines()
    starts = ("ssh:", "fatal:", "remote:", "error:", "ERROR")  # who knows best comes first
    found = next((line for start in starts for line in lines if line.startswith(start)), said.strip())
    return re.sub(r"^(fatal|remote|error): ", "", found).strip() or "no reason was given"
