"""Files of an upload to a server whose disk is elsewhere, over HTTP: small ones together, large ones in parts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.client.api import Api
from opengrid.client.http import TRIES, patiently
from opengrid.client.reading import SMALL, Changed, Reader, ReadFile, explained
from opengrid.core.errors import ServerUnreachable

if TYPE_CHECKING:
    from opengrid.client.documents import UploadDocument

#: What is sent in one request: bytes of one file, or of some, and so many of those.
PART, _TOGETHER = 8 << 20, 1000


class Parts:
    """Brings files that were read to a server. `progress` is called as a Reader's."""

    def __init__(self, api: Api, opened: UploadDocument, reader: Reader, progress: Callable[[int, int], None]) -> None:
        self._api, self._opened, self._reader, self._progress = api, opened, reader, progress

    def bring(self, files: Sequence[ReadFile]) -> list[ReadFile]:
        """Send contents; return the files that have changed since they were read."""
        changed: list[ReadFile] = []
        for group in _groups([file for file in files if file.size <= SMALL]):
            changed += self._send_together(group)
        for file in files:
            if file.size > SMALL:
                try:
                    self._send(file)
                except Changed:
                    changed.append(file)
        return changed

    def _send_together(self, files: list[ReadFile]) -> list[ReadFile]:
        contents: list[tuple[str, bytes]] = []
        changed: list[ReadFile] = []
        for file in files:
            place = self._reader.place(file)
            try:
                content = place.read_bytes()
                has_changed = self._reader.has_changed(file)
            except OSError as error:
                raise explained(error, place) from error
            if has_changed:
                changed.append(file)
            else:
                contents.append((file.digest, content))
        if contents:
            patiently(lambda: self._api.send_datastore_contents(self._opened, contents))
            size = sum(len(content) for _, content in contents)
            self._progress(size, size)
        return changed

    def _send(self, file: ReadFile) -> None:
        """Send what the server has not yet, part by part; of a file with several it is asked first how much that is."""
        try:
            self._send_parts(self._reader.place(file), file)
            if self._reader.has_changed(file):
                raise Changed
        except OSError as error:
            raise explained(error, self._reader.place(file)) from error

    def _send_parts(self, place: Path, file: ReadFile) -> None:
        size, tries = file.size, 0
        arrived = self._ask(file) if size > PART else 0
        self._progress(arrived, 0)
        with place.open("rb") as source:
            while arrived < size:
                source.seek(arrived)
                part = source.read(PART)
                if not part:
                    raise Changed
                before = arrived
                try:
                    arrived = self._send_part(file, part, arrived)
                except ServerUnreachable:
                    arrived, tries = self._ask(file), tries + 1
                    if tries > TRIES and arrived == before:
                        raise
                self._progress(arrived - before, arrived - before)

    def _ask(self, file: ReadFile) -> int:
        """Return how much of a content the server has."""
        return patiently(lambda: self._send_part(file, b"", 0))

    def _send_part(self, file: ReadFile, part: bytes, offset: int) -> int:
        return self._api.send_datastore_part(self._opened, file.digest, io.BytesIO(part), offset=offset, size=file.size)


def _groups(files: Sequence[ReadFile]) -> Iterator[list[ReadFile]]:
    group: list[ReadFile] = []
    size = 0
    for file in files:
        if group and (size + file.size > PART or len(group) >= _TOGETHER):
            yield group
            group, size = [], 0
        group.append(file)
        size += file.size
    if group:
        yield group
