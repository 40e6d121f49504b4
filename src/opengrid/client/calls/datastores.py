"""Datastores: listed, filled, imported, verified, deleted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, BinaryIO, cast

from opengrid.client.calls.calls import REMOVING_TIMEOUT_S, Calls, wire
from opengrid.core.together import joined

if TYPE_CHECKING:
    from opengrid.client.documents import (
        DatastoreDocument,
        DatastoreFilesDocument,
        DatastoreRow,
        DeletedDatastoreDocument,
        OfferedFile,
        UploadDocument,
        VerdictDocument,
    )
    from opengrid.core.packs import Packed

#: The server reads what it is given once more before it answers: all of a datastore, or a few files.
_HASHING_TIMEOUT_S = 6 * 3600.0
_HASHED_BYTES_A_SECOND = 20 << 20


class DatastoreCalls(Calls):
    """Datastores: listed, filled, imported, verified, deleted."""

    def datastores(self, name: str | None = None) -> list[DatastoreRow]:
        """Return all versions of all datastores, or of one, newest first."""
        return cast("list[DatastoreRow]", self._get("/api/v1/datastores", {"name": name})["datastores"])

    def datastore(self, name: str, version: int | None) -> DatastoreDocument:
        """Return a version, or the newest whole one, with who uses it."""
        return cast("DatastoreDocument", self._get(_datastore(name, version)))

    def datastore_files(self, name: str, version: int, *, limit: int, offset: int = 0) -> DatastoreFilesDocument:
        """Return a page of a version's files, by path."""
        page = self._get(f"{_datastore(name, version)}/files", {"limit": limit, "offset": offset})
        return cast("DatastoreFilesDocument", page)

    def verify_datastore(self, name: str, version: int) -> VerdictDocument:
        """Have every byte of a version read, and repaired where that can be."""
        path = f"{_datastore(name, version)}/verify"
        return cast("VerdictDocument", self._post(path, {}, timeout_s=_HASHING_TIMEOUT_S))

    def delete_datastore(self, name: str, version: int | None) -> DeletedDatastoreDocument:
        """Delete a version, or all of a datastore."""
        answer = self._transport.request("DELETE", _datastore(name, version), timeout_s=REMOVING_TIMEOUT_S)
        return cast("DeletedDatastoreDocument", answer.json())

    def import_datastore(self, name: str, source: str, *, refers: bool = False) -> DatastoreRow:
        """Have the server make the next version of a datastore of an address, or only refer to it; returns at once."""
        new = {"name": name, "source": source, "refers": refers}
        return cast("DatastoreRow", self._post("/api/v1/datastores/imports", new))

    def resume_import(self, name: str, version: int) -> DatastoreRow:
        """Have the server go on with a version that has failed where it was; returns at once."""
        return cast("DatastoreRow", self._post(f"{_datastore(name, version)}/resume", {}))

    def open_datastore(self, name: str, source: str, upload: str | None = None) -> UploadDocument:
        """Open the next version of a datastore, or go on with the one that an upload was filling."""
        new = {"name": name, "source": source, "upload": upload}
        return cast("UploadDocument", self._post("/api/v1/datastores", new))

    def offer_datastore_files(self, opened: UploadDocument, files: list[OfferedFile]) -> list[str]:
        """Tell which files a version shall have; return the contents that must be brought, and offered again."""
        timeout_s = 60 + sum(file["size"] for file in files) / _HASHED_BYTES_A_SECOND
        path = f"{_datastore(opened['name'], opened['version'])}/files"
        document = self._put(path, {"round": opened["round"], "files": files}, timeout_s=timeout_s)
        return cast("list[str]", document["wanted"])

    def send_datastore_part(
        self, opened: UploadDocument, digest: str, part: BinaryIO, *, offset: int, size: int
    ) -> int:
        """Send a part of a content of `size` bytes; return how much of it the server has now."""
        path = f"{_datastore(opened['name'], opened['version'])}/contents/{digest}"
        query = {"offset": offset, "size": size}
        answer = self._transport.request("PUT", path, query=query, body=part, timeout_s=600).json()
        return cast("dict[str, int]", answer)["size"]

    def send_datastore_contents(self, opened: UploadDocument, contents: Sequence[tuple[str, bytes]]) -> None:
        """Send small contents, each with its digest, in one request."""
        path = f"{_datastore(opened['name'], opened['version'])}/contents"
        self._transport.request("PUT", path, body=joined(contents), timeout_s=600)

    def pack_links(self, opened: UploadDocument, packs: Sequence[str]) -> dict[str, str]:
        """Return where to put packs of an upload; those that are there already are left out."""
        path = f"{_datastore(opened['name'], opened['version'])}/links"
        answer = self._post(path, {"round": opened["round"], "packs": list(packs)})
        return {link["pack"]: link["url"] for link in cast("list[dict[str, str]]", answer["links"])}

    def add_packed(self, opened: UploadDocument, contents: Sequence[Packed]) -> list[str]:
        """Say in which packs contents of an upload lie; return packs that are missing: then nothing was taken in."""
        path = f"{_datastore(opened['name'], opened['version'])}/packed"
        answer = self._put(path, {"round": opened["round"], "contents": wire(contents)}, timeout_s=600)
        return cast("list[str]", answer["missing"])

    def finish_datastore(self, opened: UploadDocument, *, digest: str, files: int, size: int) -> DatastoreRow:
        """Say that all files were offered; the server makes the version whole."""
        path = f"{_datastore(opened['name'], opened['version'])}/finish"
        sent = {"round": opened["round"], "digest": digest, "files": files, "size": size}
        return cast("DatastoreRow", self._put(path, sent, timeout_s=_HASHING_TIMEOUT_S))


def _datastore(name: str, version: int | None) -> str:
    return f"/api/v1/datastores/{name}" + ("" if version is None else f"/{version}")
