"""Files that experiments made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, cast

from opengrid.client.calls.calls import Calls

if TYPE_CHECKING:
    from opengrid.client.documents import ArtifactRow, ArtifactsDocument, SharedDocument
    from opengrid.core.packs import Located

#: What is more than this comes in pages.
_PAGE = 1000


class ArtifactCalls(Calls):
    """Files that experiments made."""

    def artifacts(self, experiment: str) -> list[ArtifactRow]:
        """Return all of an experiment's artifacts, by path and node, however many pages that takes."""
        rows: dict[str, ArtifactRow] = {}
        offset = 0
        while True:
            query = {"limit": _PAGE, "offset": offset}
            document = cast("ArtifactsDocument", self._get(f"/api/v1/experiments/{experiment}/artifacts", query))
            rows.update({row["id"]: row for row in document["artifacts"]})  # a new file shifts the pages
            offset += len(document["artifacts"])
            if not document["artifacts"] or offset >= document["total"]:
                return list(rows.values())

    def artifact(self, experiment: str, row: ArtifactRow) -> bytes:
        """Return the content of a small artifact; NotFound when it has another by now."""
        path = f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/content"
        return self._transport.request("GET", path, query={"sha256": row["sha256"]}).body

    def artifact_blocks(
        self, experiment: str, row: ArtifactRow, offset: int
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Give the blocks of an artifact from an offset on; NotFound when it has another content by now."""
        path = f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/content"
        return self._transport.stream("GET", path, query={"sha256": row["sha256"], "offset": offset})

    def share_artifact(self, experiment: str, row: ArtifactRow) -> SharedDocument:
        """Make a link that downloads an artifact as it is now, without signing in, for 24 hours."""
        answer = self._post(f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/links", {})
        return cast("SharedDocument", answer)

    def locate_artifact(self, experiment: str, row: ArtifactRow) -> Located:
        """Return where in the bucket an artifact's content is; NotFound when it has another by now."""
        from opengrid.core.codec import from_json  # as below
        from opengrid.core.packs import Located

        path = f"/api/v1/experiments/{experiment}/artifacts/{row['id']}/links"
        return from_json(Located, self._get(path, {"sha256": row["sha256"]}))
