"""Files of the web onto the disk: from where they were cut off, from whom this server may ask, and not without end."""

from __future__ import annotations

import errno
import http.client
import ipaddress
import json
import math
import os
import re
import socket
import string
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from email.message import Message
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from opengrid.core.errors import Forbidden, GridError, InvalidValue, Unusable
from opengrid.core.sizes import pace_text, size_text

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0

#: So often it is tried again while nothing more comes, with pauses that double from the first to the longest: a quarter
#: of a minute, and ten minutes where something is here already that it can go on with.
_TRIES, _TRIES_TO_GO_ON = 5, 15
_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 60.0

#: Answers that say: not now. Others below 500 stay what they are.
_LATER = frozenset({408, 425, 429})
_NO_SUCH_RANGE = 416

#: What no connection raises.
_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


def fetch(
    url: str, target: Path, *, most: int, may_ask_own_network: bool, tell: Callable[[Callable[[], str]], None]
) -> None:
    """Bring what lies at an http(s) address into a file.

    A file beside it keeps what its bytes belong to: a call that was broken off, even by a kill, goes on where it was,
    when the address still has the same and its server sends parts. `tell` hears how far it is. InvalidValue for an
    address that is none, or leads to more than `most` bytes; Forbidden for one of this server's own network, unless it
    may be asked; GridError when nothing comes.
    """
    check_url(url, may_ask_own_network=may_ask_own_network)
    opener = urllib.request.build_opener(_Redirects(may_ask_own_network=may_ask_own_network))
    coming, failures = _Coming(url, target, most, tell), 0
    while not coming.is_whole:
        farthest = coming.farthest
        problem: Exception = ConnectionError("the connection was cut")
        try:
            coming.bring(opener)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in _LATER:
                raise InvalidValue(f"{url} answers {error.code} {error.reason}", field="source") from error
            problem = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
                raise Unusable(f"cannot write {target}: {error.strerror}", hint="free space there") from error
            problem = error
        if coming.is_whole:
            return
        reason = _reason(problem)
        failures = 1 if coming.farthest > farthest else failures + 1
        if failures > (_TRIES_TO_GO_ON if coming.can_go_on else _TRIES):
            raise GridError(f"cannot fetch {url}: {reason}", hint="try again later")
        pause_s = min(_LONGEST_PAUSE_S, _PAUSE_S * 2 ** (failures - 1))
        coming.tell_trouble(f"{reason}; asks again in {math.ceil(pause_s)} s")
        time.sleep(pause_s)


def check_url(url: str, *, may_ask_own_network: bool) -> None:
    """Raise InvalidValue for what is no http(s) address, Forbidden for one that this server does not ask."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(f"{url} is no http(s) address", field="source")
    if may_ask_own_network:
        return
    try:
        found = socket.getaddrinfo(parts.hostname, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise InvalidValue(f"{parts.hostname}: {error.strerror}", field="source") from error
    if not all(ipaddress.ip_address(str(address[4][0]).partition("%")[0]).is_global for address in found):
        raise Forbidden(
            f"{parts.hostname} lies in this server's own network",
            hint="download it yourself, and create the datastore from the file's folder",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
    """What the bytes of a partial file belong to, as its server told; None for what it did not tell."""

    etag: str | None = None
    modified: str | None = None
    condition: str | None = None  #: which of the two a request for the rest may depend on
    size: int | None = None  #: of all of it

    @classmethod
    def of(cls, headers: Message, size: int | None) -> _Origin:
        """Read the headers of an answer."""
        etag, modified = headers.get("ETag"), headers.get("Last-Modified")
        if etag is not None and not etag.startswith("W/"):
            return cls(etag=etag, modified=modified, condition=etag, size=size)
        # A weak tag says nothing about bytes, nor does a time within whose second they may have changed again.
        condition = modified if _is_past(modified, headers.get("Date")) else None
        return cls(etag=etag, modified=modified, condition=condition, size=size)

    def has(self, other: _Origin) -> bool:
        """Return whether nothing speaks against another answer being about the same bytes."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.size, other.size))
        return all(one is None or two is None or one == two for one, two in pairs)


class _Coming:
    """A file on its way."""

    def __init__(self, url: str, target: Path, most: int, tell: Callable[[Callable[[], str]], None]) -> None:
        self._url, self._target, self._most, self._tell = url, target, most, tell
        self._beside = target.with_name(f"{target.name}.origin")
        self._origin = self._read_origin()
        target.touch()
        self._come = target.stat().st_size if self._origin.condition or self.is_whole else 0
        self.farthest = self._come  #: the most bytes that were ever here

    @property
    def is_whole(self) -> bool:
        """Whether all of it is here."""
        return self._origin.size is not None and self._target.stat().st_size == self._origin.size

    @property
    def can_go_on(self) -> bool:
        """Whether something is here, and the rest can be asked for."""
        return self._come > 0 and self._origin.condition is not None

    def bring(self, opener: urllib.request.OpenerDirector) -> None:
        """Ask for what is missing, and take it until it ends or is cut; begin anew where it is not the same any more.

        Raises whatever the connection does.
        """
        address = quote(self._url, safe=string.punctuation)  # people paste what their browser shows
        request = urllib.request.Request(address)  # noqa: S310 - the scheme was looked at
        if self.can_go_on:
            request.add_header("Range", f"bytes={self._come}-")
            request.add_header("If-Range", str(self._origin.condition))
        try:
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                if answer.status == http.client.PARTIAL_CONTENT and self.can_go_on:
                    if not self._is_rest(answer):
                        self._begin(_Origin())
                        raise ConnectionError("there is something else now")
                else:
                    self._begin(_Origin.of(answer.headers, answer.length))
                self._take(answer)
        except urllib.error.HTTPError as error:
            if error.code != _NO_SUCH_RANGE or not self.can_go_on:
                raise
            self._begin(_Origin())
            raise ConnectionError("there is less now") from error

    def tell_trouble(self, trouble: str) -> None:
        """Say how far it is, and why it stands still."""
        self._tell(lambda: f"{self._text()}  ({trouble})")

    def _is_rest(self, answer: http.client.HTTPResponse) -> bool:
        """Return whether an answer is what was asked for: some servers look at no condition."""
        told = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if told is None or int(told[1]) != self._come:
            return False
        size = None if told[2] == "*" else int(told[2])
        return self._origin.has(_Origin.of(answer.headers, size))

    def _begin(self, origin: _Origin) -> None:
        """Forget what is here. It goes before the note of what it was: never does a note stand beside other bytes."""
        os.truncate(self._target, 0)
        self._come = 0
        self._write_origin(origin)

    def _take(self, answer: http.client.HTTPResponse) -> None:
        size = self._origin.size
        if size is not None and size > self._most:
            raise InvalidValue(f"{self._url} has {size_text(size)}, and there is room for {size_text(self._most)}")
        before, began = self._come, time.monotonic()
        with self._target.open("ab") as file:
            file.truncate(self._come)
            while block := answer.read1(_BLOCK):
                if self._come + len(block) > self._most:
                    raise InvalidValue(
                        f"more than {size_text(self._most)} come from {self._url}, and there is no room for more"
                    )
                file.write(block)
                file.flush()
                self._come += len(block)
                self.farthest = max(self.farthest, self._come)
                self._tell(lambda: self._text(self._come - before, time.monotonic() - began))
        if size is None:  # its server did not tell, but it did tell the end
            self._write_origin(replace(self._origin, size=self._come))

    def _text(self, came: int = 0, seconds: float = 0) -> str:
        """Return how far it is; so many bytes of that came in so many seconds."""
        size = self._origin.size
        pace = pace_text(came, seconds, None if size is None else size - self._come)
        text = f"fetched {size_text(self._come)}" + ("" if size is None else f" of {size_text(size)}")
        return f"{text}  {pace}" if pace else text

    def _read_origin(self) -> _Origin:
        try:
            return _Origin(**json.loads(self._beside.read_bytes()))
        except (FileNotFoundError, ValueError, TypeError):
            return _Origin()

    def _write_origin(self, origin: _Origin) -> None:
        self._origin, partial = origin, self._beside.with_name(f"{self._beside.name}.part")
        partial.write_text(json.dumps(asdict(origin)))
        os.replace(partial, self._beside)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows where check_url() has nothing against it."""

    def __init__(self, *, may_ask_own_network: bool) -> None:
        self._may_ask_own_network = may_ask_own_network

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        """Look at the new address first."""
        check_url(newurl, may_ask_own_network=self._may_ask_own_network)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # pyright: ignore[reportArgumentType]


def _reason(problem: Exception) -> str:
    reason = getattr(problem, "reason", None) or problem
    return (isinstance(reason, OSError) and reason.strerror) or str(reason) or type(reason).__name__


def _is_past(modified: str | None, date: str | None) -> bool:
    """Return whether a time lies at least a second before another."""
    try:
        return parsedate_to_datetime(str(date)) - parsedate_to_datetime(str(modified)) >= timedelta(seconds=1)
    except (TypeError, ValueError):
        return False
