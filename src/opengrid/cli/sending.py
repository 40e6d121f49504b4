"""What `grid datastore create` and `resume` do: send a source, from the beginning or from where it was broken off."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.cli.options import connected
from opengrid.cli.output import ProgressLine, note
from opengrid.cli.progress import Transfer
from opengrid.client.api import Api
from opengrid.client.digests import KnownDigests
from opengrid.client.home import find_home
from opengrid.client.transfer import Material, Sender, find_material
from opengrid.client.uploads import UnfinishedUpload, Uploads
from opengrid.core.errors import Conflict, Forbidden, GridError, UserError

if TYPE_CHECKING:
    from opengrid.client.documents import DatastoreRow

#: How often the server is asked how far it is.
_LOOK_S = 0.5


def send_source(source: Path, name: str) -> DatastoreRow:
    """Make the next version of a datastore, or the one that an earlier command on this source began and left."""
    material = find_material(source)
    uploads = _uploads()
    begun = [one for one in uploads.unfinished() if (one.name, one.source) == (name, str(source))]
    with connected() as api:
        return _send(api, uploads, material, name, str(source), begun[0] if begun else None)


def import_source(source: str, name: str, *, refers: bool = False) -> DatastoreRow:
    """Have the server make a version of an address, or refer to it, and wait; it goes on when this command ends.

    Goes on with the one that the server makes of it already, or that failed in between.
    """
    made_of_it = (source, "referenced" if refers else "copied")
    with connected() as api:
        begun = [row for row in _imports(api, name) if (row["source"], row["kind"]) == made_of_it]
        return _import_ended(
            api, _going_on(api, begun[0]) if begun else api.import_datastore(name, source, refers=refers)
        )


def _imports(api: Api, name: str | None) -> list[DatastoreRow]:
    """Return the versions that the server is making, or has not come to the end of."""
    rows = [row for row in api.datastores(name) if row["state"] == "processing" or row["may_go_on"]]
    return [row for row in rows if "://" in row["source"] or row["kind"] == "referenced"]


def _going_on(api: Api, row: DatastoreRow) -> DatastoreRow:
    """Have the server be at a version, if it is not."""
    if row["state"] == "processing":
        note(f"the server is at {row['name']}:{row['version']} of it already")
        return row
    note(f"going on with {row['name']}:{row['version']}, which failed: {row['reason']}")
    return api.resume_import(row["name"], row["version"])


def _import_ended(api: Api, row: DatastoreRow) -> DatastoreRow:
    line = ProgressLine()
    if not line.is_possible and row["kind"] == "copied":
        note(f"the server fetches it as {row['name']}:{row['version']}, and goes on when this command ends")
    try:
        while row["state"] == "processing":
            line.show(f"{row['name']}:{row['version']}  {row['reason']}")
            time.sleep(_LOOK_S)
            row = api.datastore(row["name"], row["version"])
    finally:
        line.clear()
    which = f"{row['name']}:{row['version']}"
    if row["may_go_on"]:
        raise GridError(f"{which} has failed: {row['reason']}", hint=f"`grid datastore resume {which}` goes on with it")
    if row["state"] != "succeeded":
        raise UserError(f"{which} has failed: {row['reason']}")
    return row


def continue_uploads(name: str | None, version: int | None) -> list[DatastoreRow]:
    """Go on with everything that was broken off, or with one datastore's; also wait for what the server makes."""
    uploads = _uploads()
    made: list[DatastoreRow] = []
    begun = [one for one in uploads.unfinished() if name in (None, one.name) and version in (None, one.version)]
    with connected() as api:
        for one in begun:
            material = find_material(Path(one.source))
            made.append(_send(api, uploads, material, one.name, one.source, one))
        imports = [row for row in _imports(api, name) if version in (None, row["version"])]
        made += [_import_ended(api, row) for row in _begun_again(api, imports)]
        if not made and name is not None:
            _check_can_be_whole(api.datastore(name, version))
    return made


def _check_can_be_whole(row: DatastoreRow) -> None:
    """Raise UserError for a version with which nobody can go on."""
    if row["state"] == "failed":
        hint = "`grid datastore create` makes another version"
        raise UserError(f"{row['name']}:{row['version']} has failed: {row['reason']}", hint=hint)
    if row["state"] == "processing":
        raise Conflict(
            f"{row['name']}:{row['version']} was begun on another computer, or another command is working on it",
            hint="go on with it there: `grid datastore resume`, or the same command again",
        )


def _begun_again(api: Api, rows: list[DatastoreRow]) -> list[DatastoreRow]:
    begun: list[DatastoreRow] = []
    for row in rows:
        with suppress(Forbidden):  # somebody else's
            begun.append(_going_on(api, row))
    return begun


def _send(
    api: Api, uploads: Uploads, material: Material, name: str, source: str, begun: UnfinishedUpload | None
) -> DatastoreRow:
    opened = api.open_datastore(name, source, begun.upload if begun else None)
    if begun is not None and not opened["resumed"]:
        uploads.forget(begun)  # its version is gone
    record = UnfinishedUpload(upload=opened["upload"], name=opened["name"], version=opened["version"], source=source)
    line = Transfer(f"{record.name}:{record.version}", material.size)
    if opened["resumed"]:
        note(f"going on with {record.name}:{record.version}")
    try:
        with uploads.held(record), KnownDigests(uploads.journal(source)) as known:
            # Each byte counts half when it is read, and half when the server has it.
            sender = Sender(api, opened, material, known, lambda done, came: line.add(done / 2, came / 2))
            return sender.run()
    except BlockingIOError as error:
        raise Conflict(f"another command is working on {record.name}:{record.version}") from error
    finally:
        line.clear()


def _uploads() -> Uploads:
    return Uploads(find_home(os.environ).uploads)
