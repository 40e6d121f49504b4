"""One prefix of a bucket of S3, or of what speaks like it, through obstore; what goes wrong is a GridError."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, PreconditionError, UnauthenticatedError
from obstore.store import S3Store

from opengrid.core.errors import DataChanged, GridError, InvalidValue, NotFound, Unusable
from opengrid.core.names import printable

if TYPE_CHECKING:
    from obstore import GetOptions, ObjectMeta

#: Objects of more than this go up in parts of this size, several at once; half done ones leave nothing to be seen.
_PART = 8 << 20

_REFUSALS = (PermissionDeniedError, UnauthenticatedError, PermissionError)


@dataclass(frozen=True, slots=True)
class Object:
    """An object of a bucket."""

    key: str  #: below the prefix
    size: int
    etag: str  #: another one when the object is written again
    modified: datetime


class Bucket:
    """Objects below `s3://bucket/prefix`. Any thread may use it; the library repeats what fails for a moment."""

    def __init__(self, url: str, *, retry_s: float = 60.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query:
            raise InvalidValue(f"{url} is no address in a bucket", hint="such as s3://bucket/prefix")
        self.url, self._name = url.rstrip("/"), parts.netloc
        self._store = S3Store(
            parts.netloc,
            prefix=parts.path.strip("/") or None,
            client_options={"allow_http": os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")},
            retry_config={"max_retries": 10, "retry_timeout": timedelta(seconds=retry_s)},
        )

    def objects(self, prefix: str = "") -> Iterator[Object]:
        """Yield all objects whose keys begin with a folder."""
        with self._explained():
            pages = cast(
                "Iterator[list[ObjectMeta]]",
                obstore.list(self._store, prefix or None),  # pyright: ignore[reportUnknownMemberType]
            )
            for page in pages:
                for meta in page:
                    yield Object(meta["path"], meta["size"], (meta["e_tag"] or "").strip('"'), meta["last_modified"])

    def size(self, key: str) -> int | None:
        """Return an object's bytes; None when there is none."""
        try:
            with self._explained():
                return obstore.head(self._store, key)["size"]
        except NotFound:
            return None

    def put(self, key: str, body: bytes | Path) -> None:
        """Write an object, whole or not at all."""
        size = body.stat().st_size if isinstance(body, Path) else len(body)
        with self._explained():
            obstore.put(self._store, key, body, use_multipart=size > _PART, chunk_size=_PART)

    def read(self, key: str, offset: int = 0, size: int | None = None, *, etag: str = "") -> Iterator[bytes]:
        """Yield bytes of an object, which has them: so many, or all from there on.

        With `etag`: DataChanged when the object is another one by now, or gone.
        """
        if size == 0:
            return
        wanted: GetOptions = {"range": {"offset": offset} if size is None else (offset, offset + size)}
        if etag:
            wanted["if_match"] = f'"{etag}"'
        with self._explained():
            try:
                answer = obstore.get(self._store, key, options=wanted)
            except (PreconditionError, FileNotFoundError) as error:
                if not etag:
                    raise
                changed = f"{self.url}/{printable(key)} has changed since it was listed"
                raise DataChanged(changed, hint="create the datastore again") from error
            for block in answer.stream(_PART):
                yield bytes(block)

    def delete(self, keys: Collection[str]) -> None:
        """Remove objects; harmless where there is none."""
        if keys:
            with self._explained():
                obstore.delete(self._store, list(keys))

    def links(self, method: str, keys: Sequence[str], valid_s: float) -> list[str]:
        """Return an address for each key at which one may GET or PUT it for so long, without signing in."""
        with self._explained():
            signed = obstore.sign(self._store, "PUT" if method == "PUT" else "GET", keys, timedelta(seconds=valid_s))
        return list(signed)

    @contextmanager
    def _explained(self) -> Generator[None]:
        try:
            yield
        except (BaseError, OSError) as error:  # some kinds come as Python's own
            raise self._explanation(error) from error

    def _explanation(self, error: BaseException) -> GridError:
        text = str(error)
        if "NoSuchBucket" in text:
            return Unusable(f"there is no bucket {self._name}", hint="make it, or name another")
        if isinstance(error, _REFUSALS) or "403 Forbidden" in text or "401 Unauthorized" in text:
            return Unusable(
                f"the bucket {self._name} refuses us: {_said(text)}",
                hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY of the server say who asks",
            )
        if isinstance(error, FileNotFoundError):
            return NotFound(f"{self.url} has lost a content: {_line(text)}")
        if "kind: Connect," in text:
            return GridError(
                f"nothing answers for {self.url}: {_said(text)}",
                hint="AWS_ENDPOINT_URL of the server, where it is set, says where the bucket is",
            )
        return GridError(f"{self.url} does not answer as it should: {_said(text)}", hint="try again")


#: Whom the library asked; what the service answered; what the system said when there was no answer.
_ASKED = re.compile(r"https?://[^/\s?,]+")
_ANSWERED = re.compile(r"<Code>([^<]+)</Code>(?:\s*<Message>([^<]+)</Message>)?")
_SYSTEM = re.compile(r'(?:message|error): "([^"]+)"')


def _said(text: str) -> str:
    """Return why a request failed, and where it went; the library's own words where that is not among them."""
    asked, answered, system = _ASKED.search(text), _ANSWERED.search(text), _SYSTEM.search(text)
    if answered is not None:
        why = ": ".join(filter(None, answered.groups()))
    elif system is not None:
        why = system[1]
    else:
        return _line(text)
    return f"{why} ({asked[0]})" if asked is not None else why


def _line(text: str) -> str:
    return text.partition("\n")[0][:200]
