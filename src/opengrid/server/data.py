"""Datastores, put together: where they rest, who fills them, who makes them of addresses, what runs ask of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from opengrid.blobs.blobs import Blobs
from opengrid.core.disks import DiskGuard
from opengrid.server.contents import open_blobs, open_bucket
from opengrid.server.settings import Settings
from opengrid.services.datastores import Datastores
from opengrid.services.filling import Filling
from opengrid.services.imports import Imports
from opengrid.services.run_data import RunData
from opengrid.services.trees import Trees
from opengrid.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Data:
    """All use cases around datastores."""

    contents: Blobs
    datastores: Datastores
    filling: Filling
    imports: Imports
    runs: RunData
    trees: Trees

    def close(self) -> None:
        """Have the threads that bring and make versions end: the next server goes on."""
        self.imports.close()
        self.trees.close()


def open_data(
    settings: Settings,
    database: Database,
    disks: DiskGuard,
    *,
    has_mounts: Callable[[], bool],
    now_us: Callable[[], int],
) -> Data:
    """Put them together. `has_mounts` tells whether ranks of this host can have mounts."""
    root = settings.state / "datastores"
    contents = open_blobs(settings, "datastores", root / ".contents")
    trees = Trees(root, contents, has_mounts=has_mounts)
    datastores = Datastores(database, root, contents, trees, open_bucket=open_bucket)
    filling = Filling(database, root, contents, trees, disks=disks, now_us=now_us, open_bucket=open_bucket)
    may_ask = settings.is_embedded
    return Data(
        contents=contents,
        trees=trees,
        datastores=datastores,
        filling=filling,
        imports=Imports(filling, disks, may_ask_own_network=may_ask, open_bucket=open_bucket),
        runs=RunData(
            database, datastores, contents, trees, has_mounts=has_mounts, now_us=now_us, open_bucket=open_bucket
        ),
    )
