"""Trees that are made beside what fills their versions."""

from __future__ import annotations

import hashlib
from pathlib import Path

from opengrid.blobs.folder import FolderBlobs
from opengrid.core.records.datastores import DatastoreFile, DatastoreState, DatastoreVersion
from opengrid.services.trees import Trees


def make_version(name: str) -> DatastoreVersion:
    state = DatastoreState.PROCESSING
    return DatastoreVersion(
        name=name, version=1, user="ada", state=state, source="/d", digest=None, files=0, size=0, created_us=0
    )


def test_what_could_not_be_put_into_a_tree_beside_is_put_there_at_the_end(tmp_path: Path) -> None:
    contents = FolderBlobs(tmp_path / "contents")
    digest = hashlib.sha256(b"x").hexdigest()
    with contents.writing(digest) as writer:
        writer.write(b"x")
    files = [DatastoreFile(position=0, path="folder/file", size=1, digest=digest)]
    trees = Trees(tmp_path / "trees", contents, has_mounts=lambda: True)
    (tmp_path / "trees").mkdir()
    (tmp_path / "trees" / "data").touch()  # where no folder can be made
    trees.begin(make_version("data"), files)
    trees.begin(make_version("other"), files)
    trees.make("other", 1, files)  # by then the first has failed: they are made one after the other
    (tmp_path / "trees" / "data").unlink()

    trees.make("data", 1, files)

    assert (trees.path("data", 1) / "folder" / "file").read_bytes() == b"x"
    assert (trees.path("other", 1) / "folder" / "file").read_bytes() == b"x"
