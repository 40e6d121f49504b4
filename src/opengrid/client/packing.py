"""Files of an upload into a server's bucket: small ones share packs, which are put there over links."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from opengrid.client.api import Api
from opengrid.client.http import patiently
from opengrid.client.packs import Content, Uploader
from opengrid.client.reading import Reader, ReadFile, explained
from opengrid.core.packs import Packed

if TYPE_CHECKING:
    from opengrid.client.documents import UploadDocument

#: So many packs are on their way at once.
_AT_ONCE = 4


class Packing:
    """Brings files that were read to a bucket. `progress` is called as a Reader's."""

    def __init__(self, api: Api, opened: UploadDocument, reader: Reader, progress: Callable[[int, int], None]) -> None:
        self._reader = reader
        self._uploader = Uploader(_Carrier(api, opened), progress, shares=True, at_once=_AT_ONCE)

    def bring(self, files: Sequence[ReadFile]) -> list[ReadFile]:
        """Bring contents; return the files that have changed since they were read."""
        contents = [
            Content(sha256=file.digest, size=file.size, open=partial(self._reader.place(file).open, "rb"))
            for file in files
        ]
        try:
            changed = self._uploader.bring(contents)
            return [file for file in files if file.digest in changed or self._reader.has_changed(file)]
        except OSError as error:
            raise explained(error, error.filename or self._reader.root) from error


class _Carrier:
    """The server, for one upload, asked by one thread at a time."""

    def __init__(self, api: Api, opened: UploadDocument) -> None:
        self._api, self._opened, self._lock = api, opened, threading.Lock()

    def links(self, packs: Sequence[str]) -> Mapping[str, str]:
        with self._lock:
            return patiently(lambda: self._api.pack_links(self._opened, packs))

    def add(self, contents: Sequence[Packed]) -> Sequence[str]:
        with self._lock:
            return patiently(lambda: self._api.add_packed(self._opened, contents))
