"""Files of the web onto the disk: from where they were cut off, from whom this server may ask, and not without end."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from opengrid.core.errors import Forbidden, GridError, InvalidValue

_BLOCK = 1 << 20
_TIMEOUT_S = 60.0

#: So often it goes on where it was cut off, while nothing more comes, with pauses that grow from this.
_TRIES, _PAUSE_S = 5, 0.5


def fetch(
    url: str, target: Path, *, most: int, may_ask_own_network: bool, progress: Callable[[int, int | None], None]
) -> None:
    """Bring what lies at an http(s) address into a file.

    `progress` is called with the bytes that have come, and how many there will be, if that is told. InvalidValue for an
    address that is none, or leads to more than `most` bytes; Forbidden for one of this server's own network, unless it
    may be asked; GridError when nothing comes.
    """
    opener = urllib.request.build_opener(_Redirects(may_ask_own_network=may_ask_own_network))
    check_url(url, may_ask_own_network=may_ask_own_network)
    tries, farthest, tag = 0, 0, None
    target.touch()
    while True:
        size = target.stat().st_size if tag is not None else 0
        try:
            request = urllib.request.Request(url)  # noqa: S310 - the scheme was looked at
            if tag is not None and size:
                request.add_header("Range", f"bytes={size}-")
                request.add_header("If-Range", tag)
            with opener.open(request, timeout=_TIMEOUT_S) as answer:
                tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified")
                goes_on = answer.status == 206
                length = answer.headers.get("Content-Length")
                total = int(length) + (size if goes_on else 0) if length else None
                if total is not None and total > most:
                    raise InvalidValue(f"{url} has {total >> 20} MiB, and there is room for {most >> 20}")
                came = _save(answer, target, most, _with(progress, total), append=goes_on)
            if total is None or came >= total:
                return
            raise ConnectionError("the connection was cut")
        except urllib.error.HTTPError as error:
            if error.code < 500:
                raise InvalidValue(f"{url} answers {error.code} {error.reason}", field="source") from error
            problem: Exception = error
        except (OSError, http.client.HTTPException) as error:
            problem = error
        come = target.stat().st_size
        tries, farthest = (1 if come > farthest else tries + 1), max(come, farthest)
        if tries > _TRIES:
            raise GridError(f"cannot fetch {url}: {getattr(problem, 'reason', problem)}", hint="try again later")
        time.sleep(_PAUSE_S * 2 ** (tries - 1))


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


def _with(progress: Callable[[int, int | None], None], total: int | None) -> Callable[[int], None]:
    return lambda come: progress(come, total)


def _save(
    answer: http.client.HTTPResponse, target: Path, most: int, progress: Callable[[int], None], *, append: bool
) -> int:
    with target.open("ab" if append else "wb") as file:
        size = file.tell()
        while block := answer.read1(_BLOCK):
            size += len(block)
            if size > most:
                raise InvalidValue(f"more than {most >> 20} MiB come from there, and there is no room for more")
            file.write(block)
            progress(size)
    return size
