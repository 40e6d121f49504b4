"""Links to repositories, and to branches, commits and files in them, as people copy them from a git host. Pure.

Which part of `…/blob/feature/x/train.py` is the branch, only the repository's own list of branches tells: what a link
says is read first (`parse_link`), then divided with that list (`divide`).
"""

from __future__ import annotations

import dataclasses
import difflib
import posixpath
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, unquote, urlsplit

from opengrid.core.errors import InvalidValue, NotFound

#: `git@host:org/repo`, as ssh itself has it.
_SCP = re.compile(r"(?P<user>[\w.-]+)@(?P<host>[\w.-]+):(?!//)(?P<path>[^:].*)", re.ASCII)

_COMMIT = re.compile(r"[0-9a-f]{7,64}")

#: What stands in a page's address between the repository and the ref; True when what follows ends in a file.
_PAGES = {"blob": True, "raw": True, "blame": True, "edit": True, "tree": False, "commit": False, "commits": False}

#: GitHub's host for the contents of files: their addresses name no kind of page.
_RAW_HOST = "raw.githubusercontent.com"

#: How hosts that have such a word in their name address a file at a commit.
_FILE_PAGES = {
    "github": "blob",
    "gitlab": "-/blob",
    "bitbucket": "src",
    "gitea": "src/commit",
    "forgejo": "src/commit",
    "codeberg": "src/commit",
}

#: What a link looks like.
EXAMPLE = "such as https://github.com/org/repo/blob/main/train.py, or git@host:org/repo.git"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A place in a repository."""

    url: str  #: the repository, as git takes it
    ref: str | None = None  #: branch, tag or commit; None: the one that the repository opens with
    path: str = ""  #: file or folder in it; "" is its root
    rest: str = ""  #: ref and path, not yet divided; then `ref` and `path` say nothing
    is_file: bool = False  #: whether the path is a file's; else it may be a folder's

    @property
    def host(self) -> str:
        """The machine that has the repository; "" for a folder of this one."""
        match = _SCP.fullmatch(self.url)
        return match["host"] if match else urlsplit(self.url).hostname or ""


def is_link(text: str) -> bool:
    """Return whether a word is meant as a link, though it may be a malformed one."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None or _SCP.fullmatch(text) is not None


def parse_link(text: str) -> Link:
    """Return what a link says; InvalidValue with what is wrong and what would be right.

    Known are the addresses of pages of GitHub, GitLab, Bitbucket, Gitea and what looks like them; repositories
    themselves over https and ssh; and `URL#ref` or `URL#ref:path` for any of these.
    """
    if any(ord(character) <= 32 for character in text):
        raise _invalid(text, "it has a space or a control character in it")
    scp = _SCP.fullmatch(text)
    if scp is not None:
        path, _, fragment = scp["path"].partition("#")
        _check_host(text, scp["host"])
        return _chosen(text, Link(url=f"{scp['user']}@{scp['host']}:{path.rstrip('/')}"), fragment)
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _invalid(text, str(error)) from None
    if parts.scheme not in ("https", "ssh", "file"):
        right = "https:// or ssh://"
        raise InvalidValue(f"{text}: {parts.scheme}:// is not fetched from", hint=f"{right} is", field="link")
    if parts.password is not None:
        raise InvalidValue(
            f"the link to {host} holds a password, which would be recorded",
            hint=f"leave it out; `grid secret set git@{host}` keeps it",
            field="link",
        )
    if parts.scheme != "file":
        _check_host(text, host)
    user = f"{parts.username}@" if parts.username and parts.scheme == "ssh" else ""
    server = f"{parts.scheme}://{user}{host or ''}{f':{port}' if port else ''}"
    segments = [segment for segment in parts.path.split("/") if segment]
    if not segments:
        raise _invalid(text, "it names no repository")
    if parts.scheme == "https":
        link = _page(text, server, host or "", segments, at=parse_qs(parts.query).get("at", [""])[0])
    else:
        link = Link(url=f"{server}/{'/'.join(segments)}")
    return _chosen(text, link, parts.fragment)


def divide(link: Link, refs: Collection[str]) -> Link:
    """Return the link with ref and path apart, given the repository's branches and tags.

    The longest of them that the rest begins with is meant; without one, a first part that looks like a commit.
    NotFound names the nearest refs.
    """
    if link.rest:
        found = max((ref for ref in refs if _begins(link.rest, ref)), key=len, default=None)
        first = link.rest.partition("/")[0]
        if found is None and _COMMIT.fullmatch(first):
            found = first
        if found is None:
            raise _no_ref(link.url, link.rest, refs)
        path = link.rest[len(found) :].strip("/")
        return dataclasses.replace(link, ref=found, path=_safe(link.url, path), rest="")
    if link.ref is not None and link.ref not in refs and not _COMMIT.fullmatch(link.ref):
        raise _no_ref(link.url, link.ref, refs)
    return link


def web_page(url: str, commit: str, path: str) -> str | None:
    """Return where the git host of a repository shows a file at a commit; None for hosts whose pages nobody knows."""
    match = _SCP.fullmatch(url)
    parts = urlsplit(f"ssh://{match['host']}/{match['path']}" if match else url)
    host = parts.hostname or ""
    kind = next((pages for word, pages in _FILE_PAGES.items() if word in host), None)
    if kind is None or parts.scheme not in ("https", "ssh"):
        return None
    port = f":{parts.port}" if parts.port and parts.scheme == "https" else ""
    repository = parts.path.strip("/").removesuffix(".git")
    return f"https://{host}{port}/{quote(repository)}/{kind}/{commit}" + (f"/{quote(path)}" if path else "")


def _page(text: str, server: str, host: str, segments: list[str], at: str) -> Link:
    """Read the address of a page, or of the repository itself."""
    if host == _RAW_HOST:
        if len(segments) < 4:
            raise _invalid(text, "it names no file")
        rest = segments[4:] if segments[2:4] == ["refs", "heads"] else segments[2:]
        return Link(url=f"https://github.com/{'/'.join(segments[:2])}", rest=unquote("/".join(rest)), is_file=True)
    position = next((i for i, s in enumerate(segments) if i >= 2 and (s in _PAGES or s in ("-", "src"))), None)
    if position is None:
        if host == "github.com" and len(segments) != 2:
            raise _invalid(text, "a repository there is github.com/OWNER/NAME")
        return Link(url=f"{server}/{'/'.join(segments)}")
    url = f"{server}/{'/'.join(segments[:position])}"
    kind, rest = segments[position], [unquote(segment) for segment in segments[position + 1 :]]
    if kind == "-":  # GitLab
        kind, rest = (rest[0], rest[1:]) if rest else ("", [])
    if kind == "src":
        return _source_page(text, url, rest, at)
    if kind not in _PAGES or not rest:
        raise _invalid(text, "it is the address of no file, folder, branch or commit")
    if kind in ("commit", "commits"):
        return Link(url=url, ref=rest[0]) if kind == "commit" else Link(url=url, rest="/".join(rest))
    rest = rest[2:] if rest[:2] == ["refs", "heads"] else rest
    return Link(url=url, rest="/".join(rest), is_file=_PAGES[kind])


def _source_page(text: str, url: str, rest: list[str], at: str) -> Link:
    """Read what follows `/src/`: Gitea names the kind of ref, Bitbucket the commit and, after `?at=`, the branch."""
    if not rest:
        raise _invalid(text, "it is the address of no file, folder, branch or commit")
    is_file = "." in rest[-1] and len(rest) > 1
    if rest[0] in ("branch", "tag") and len(rest) > 1:
        return Link(url=url, rest="/".join(rest[1:]), is_file="." in rest[-1] and len(rest) > 2)
    if rest[0] == "commit" and len(rest) > 1:
        return Link(url=url, ref=rest[1], path=_safe(text, "/".join(rest[2:])), is_file=is_file and len(rest) > 2)
    if at and _COMMIT.fullmatch(rest[0]):
        return Link(url=url, ref=rest[0], path=_safe(text, "/".join(rest[1:])), is_file=is_file)
    return Link(url=url, rest="/".join(rest), is_file=is_file)


def _chosen(text: str, link: Link, fragment: str) -> Link:
    """Apply `#ref` or `#ref:path`; `#L10` and `#readme` are places in a page."""
    if not fragment or re.fullmatch(r"L[0-9]+.*|lines-[0-9:,]+|readme(-.*)?", fragment):
        return link
    if link.rest or link.ref is not None or link.path:
        if ":" not in fragment and "/" not in fragment:
            return link  # a heading of the page
        raise _invalid(text, "it names a branch twice")
    ref, _, path = unquote(fragment).partition(":")
    if ref.startswith("-"):
        raise _invalid(text, f"{ref!r} is no branch, tag or commit")
    path = _safe(text, path)
    return dataclasses.replace(link, ref=ref or None, path=path, is_file="." in posixpath.basename(path))


def _safe(text: str, path: str) -> str:
    if ".." in path.split("/") or not path.isprintable():
        raise _invalid(text, f"the path {path!r} leaves the repository")
    return path.strip("/")


def _check_host(text: str, host: str | None) -> None:
    if not host or not re.fullmatch(r"[A-Za-z0-9\[][A-Za-z0-9.:\]-]*", host):  # a leading `-` would be an option of ssh
        raise _invalid(text, f"{host or ''!r} is no name of a host")


def _begins(rest: str, ref: str) -> bool:
    return rest == ref or rest.startswith(f"{ref}/")


def _no_ref(url: str, wanted: str, refs: Collection[str]) -> NotFound:
    parts = wanted.split("/")
    starts = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    near = [ref for start in starts for ref in difflib.get_close_matches(start, list(refs), n=2, cutoff=0.6)]
    offer = list(dict.fromkeys(near)) or sorted(refs)[:5]
    hint = f"did you mean {' or '.join(offer[:3])}?" if near else f"there is {', '.join(offer)}" if offer else None
    return NotFound(f"{url} has no branch, tag or commit {wanted!r}", hint=hint, field="link")


def _invalid(text: str, why: str) -> InvalidValue:
    return InvalidValue(f"the link {text} cannot be used: {why}", hint=EXAMPLE, field="link")
