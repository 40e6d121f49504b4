"""`grid datastore`: versioned data."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from opengrid.cli.completing import files
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import Column, bold, local_time, plural, print_json, print_table, settings, tell
from opengrid.cli.sending import continue_uploads, import_source, send_source
from opengrid.client.home import find_home
from opengrid.client.uploads import Uploads
from opengrid.core.errors import InvalidValue, UserError
from opengrid.core.names import check_name, datastore_name_of, named, printable
from opengrid.core.sizes import size_text

if TYPE_CHECKING:
    from opengrid.client.documents import DatastoreDocument, DatastoreRow

#: So many of a version's files are shown unless more are asked for.
_SHOWN = 20

#: What people are told of where the data rests.
_KINDS = {"copied": "copied", "referenced": "referenced: the data stays at its source, which must not change"}


@click.group(invoke_without_command=True)
@click.option("--global", "everybody", is_flag=True, help="Everybody's datastores, with who made them.")
@click.option("--show-incomplete", is_flag=True, help="Also versions that are not whole, and why.")
@global_options
@click.pass_context
def datastore(context: click.Context, *, everybody: bool, show_incomplete: bool) -> None:
    """List, create, look at and delete versioned data.

    Without a command: list.
    """
    if context.invoked_subcommand is None:
        _list(everybody=everybody, show_incomplete=show_incomplete)


@datastore.command("list")
@click.option("--global", "everybody", is_flag=True, help="Everybody's datastores, with who made them.")
@click.option("--show-incomplete", is_flag=True, help="Also versions that are not whole, and why.")
@global_options
def list_datastores(*, everybody: bool, show_incomplete: bool) -> None:
    """List all versions, newest first."""
    _list(everybody=everybody, show_incomplete=show_incomplete)


@datastore.command("create")
@click.argument("source", shell_complete=files)
@click.option("--name", help="Name [default: the last part of SOURCE, lower-cased, cut at the first dot].")
@click.option(
    "--no_copy", is_flag=True, help="Only refer to SOURCE: s3://…, or a folder that the server and all machines see."
)
@global_options
def create_datastore(source: str, *, name: str | None, no_copy: bool) -> None:
    """Make the next version of a datastore from a folder or file, an archive of the web, or a bucket.

    Only what no version has yet is copied. A command that was broken off goes on when it is repeated. The archive
    behind an http(s) address (zip, tar, tar.gz, tar.bz2, tar.xz, tar.zst) is fetched and unpacked by the server; what
    lies below s3://bucket/prefix is copied by it. With --no_copy the data stays where it is; what changes there makes
    the version unusable.

    A script gets at its content by an argument `grid:NAME:VERSION`, which becomes a path.
    """
    if not source:
        raise InvalidValue("SOURCE is empty", hint="give a folder, a file or an address", field="source")
    is_url = "://" in source
    if is_url and not source.startswith(("http://", "https://", "s3://")):
        raise InvalidValue(f"{source}: only http, https and s3 addresses are fetched", field="source")
    if is_url and not urlsplit(source).netloc:
        raise InvalidValue(
            f"{source} names no host or bucket",
            hint="such as https://host/data.tar.gz or s3://bucket/prefix",
            field="source",
        )
    if no_copy and source.startswith("http"):
        raise InvalidValue(
            f"{source} is an archive: to refer to it is no use", hint="leave out --no_copy", field="source"
        )
    whole = source.rstrip("/") if is_url else os.path.abspath(source)
    chosen = check_name(name, "datastore") if name is not None else _name_of(whole)
    by_server = is_url or no_copy
    made = import_source(whole, chosen, refers=no_copy) if by_server else send_source(Path(whole), chosen)
    if settings().is_json:
        print_json(made)
    else:
        _tell_made([made])


def _name_of(source: str) -> str:
    try:
        return check_name(datastore_name_of(source), "datastore")
    except InvalidValue as error:
        raise InvalidValue(error.message, hint=f"--name gives another: {error.hint}", field="name") from error


@datastore.command("resume")
@click.argument("which", metavar="[NAME[:VERSION]]", required=False)
@global_options
def resume(which: str | None) -> None:
    """Go on with what was broken off: uploads of this computer, and what the server could not fetch to its end.

    All of it, or that of one datastore or version. What the server is fetching, the command waits for.
    """
    name, version = _parse(which) if which is not None else (None, None)
    made = continue_uploads(name, version)
    if settings().is_json:
        print_json({"datastores": made})
    else:
        _tell_made(made)


@datastore.command("show")
@click.argument("which", metavar="NAME[:VERSION]")
@click.option("--all", "all_files", is_flag=True, help=f"All files, not only the first {_SHOWN}.")
@global_options
def show(which: str, *, all_files: bool) -> None:
    """Show a version: its files, who uses it, how it is kept from being changed."""
    name, version = _parse(which)
    with connected() as api:
        document = api.datastore(name, version)
        page = api.datastore_files(name, document["version"], limit=1000 if all_files else _SHOWN)
        files = page["files"]
        while all_files and len(files) < page["total"]:
            more = api.datastore_files(name, document["version"], limit=1000, offset=len(files))["files"]
            if not more:
                break
            files += more
    if settings().is_json:
        print_json({**document, "file_list": files})
        return
    _print_facts(document)
    rows = [[file["path"], size_text(file["size"]), file["sha256"][:12] or file["pin"]] for file in files]
    known_by = "Pin" if document["kind"] == "referenced" else "SHA-256"
    print_table(
        [Column(title="File", may_wrap=True), Column(title="Size", is_number=True), Column(title=known_by)], rows
    )
    if len(files) < page["total"]:
        click.echo(f"and {plural(page['total'] - len(files), 'more file')}: --all shows them")


@datastore.command("verify")
@click.argument("which", metavar="NAME[:VERSION]")
@global_options
def verify(which: str) -> int:
    """Read every byte of a version, and repair what can be."""
    name, version = _parse(which)
    with connected() as api:
        document = api.datastore(name, version)
        version, is_copied = document["version"], document["kind"] == "copied"
        verdict = api.verify_datastore(name, version)
    wrong = "damaged" if is_copied else "changed"
    if settings().is_json:
        print_json({"name": name, "version": version, **verdict})
    else:
        for path in verdict["repaired"]:
            click.echo(f"repaired: {printable(path)}")
        for path in verdict["damaged"]:
            click.echo(f"{wrong}: {printable(path)}")
        click.echo(f"{name}:{version}: {plural(verdict['files'], 'file')}, {len(verdict['damaged'])} {wrong}")
    if verdict["damaged"] and not is_copied:
        tell(f"hint: create {name} from {document['source']} again: that is another version")
    elif verdict["damaged"]:
        tell(f"hint: create {name} from its source again, which brings what is damaged; then verify repairs it")
    return 1 if verdict["damaged"] else 0


@datastore.command("delete")
@click.argument("which", metavar="[NAME[:VERSION]]", required=False)
@click.option("--name", help="The datastore.")
@click.option("--version", type=click.IntRange(min=1), help="One version of it [default: all].")
@click.option("--yes", is_flag=True, help="Do not ask.")
@global_options
def delete(which: str | None, *, name: str | None, version: int | None, yes: bool) -> int:
    """Delete a version, or all of a datastore, for good. What an experiment still needs is refused."""
    if (which is None) == (name is None):
        raise UserError("which datastore?", hint="grid datastore delete --name NAME [--version V]")
    if which is not None:
        name, version = _parse(which)
    what = f"{name}:{version}" if version is not None else f"all versions of {name}"
    if not yes and not _agrees(what):
        click.echo("nothing was deleted", err=True)
        return 1
    with connected() as api:
        gone = api.delete_datastore(str(name), version)
    if settings().is_json:
        print_json({"name": name, **gone})
    else:
        versions = ", ".join(f"{name}:{number}" for number in gone["deleted"])
        click.echo(f"deleted {versions}; {size_text(gone['freed'])} are free again")
    return 0


@datastore.command("clearcache")
@global_options
def clear_cache() -> None:
    """Forget what is remembered of sources' files; the next create reads all of them."""
    freed = Uploads(find_home(os.environ).uploads).clear()
    if settings().is_json:
        print_json({"freed": freed})
    else:
        click.echo(f"cleared {size_text(freed)}")


def _tell_made(made: list[DatastoreRow]) -> None:
    for row in made:
        click.echo(f"{row['name']}:{row['version']} has {plural(row['files'], 'file')}, {size_text(row['size'])}")
        click.echo(f"in a command, grid:{row['name']}:{row['version']} is its path")
    if not made:
        click.echo("nothing was broken off")


def _parse(which: str) -> tuple[str, int | None]:
    name, colon, version = which.removeprefix("grid:").partition(":")
    if colon and not re.fullmatch("[1-9][0-9]{0,8}", version):
        raise InvalidValue(f"{which!r} names no version", hint="NAME or NAME:VERSION, such as stl10:1", field="which")
    return check_name(name, "datastore"), int(version) if colon else None


def _agrees(what: str) -> bool:
    if sys.stdin is None or not sys.stdin.isatty():  # None: the shell closed it
        raise UserError(f"deleting {what} is final, and nobody is here to ask", hint="--yes deletes without asking")
    return click.confirm(f"Delete {what} for good?", err=True)


def _print_facts(document: DatastoreDocument) -> None:
    click.echo(bold(f"{document['name']}:{document['version']}") + f"  {document['state']}")
    users = [
        f"{use['run']} ({', '.join(use['experiments'])})" if use["active"] else f"{use['run']} (ended)"
        for use in document["used_by"]
    ]
    facts = {
        "source": document["source"],
        "kind": _KINDS[document["kind"]],
        "files": f"{document['files']}, {size_text(document['size'])}",
        "digest": document["digest"] or "-",
        "created": f"{local_time(document['created_at'])} by {document['user']}",
        "lies at": document["location"],
        "protection": document["protection"],
        "used by": ", ".join(users) or "nobody",
    }
    if document["reason"]:
        facts["reason"] = document["reason"]
    for title, text in facts.items():
        click.echo(f"{title:<12}{text}")
    click.echo()


def _list(*, everybody: bool, show_incomplete: bool) -> None:
    with connected() as api:
        rows = api.datastores()
    whole = [row for row in rows if row["state"] == "succeeded"]
    shown = rows if show_incomplete else whole
    if settings().is_json:
        print_json({"datastores": shown})
        return
    if shown:
        columns = [
            Column(title="Name", may_wrap=True),
            Column(title="Version", is_number=True),
            Column(title="Status"),
            Column(title="Kind"),
            Column(title="Files", is_number=True),
            Column(title="Size", is_number=True),
            Column(title="Created At"),
            *([Column(title="Created By")] if everybody else []),
            *([Column(title="How Far, or Why Not", may_wrap=True)] if show_incomplete else []),
        ]
        print_table(
            columns,
            [_row(row, everybody=everybody) + ([row["reason"] or "-"] if show_incomplete else []) for row in shown],
        )
    else:
        click.echo("no datastores yet: `grid datastore create FOLDER` makes one")
    if len(shown) < len(rows):
        tell(f"{len(rows) - len(shown)} not whole: --show-incomplete lists them")
    if goes_on := [
        f"{row['name']}:{row['version']}" for row in rows if row["state"] == "processing" or row["may_go_on"]
    ]:
        tell(f"`grid datastore resume` goes on with {named(goes_on)}")


def _row(row: DatastoreRow, *, everybody: bool) -> list[str]:
    return [
        row["name"],
        str(row["version"]),
        row["state"],
        row["kind"],
        str(row["files"]),
        size_text(row["size"]),
        local_time(row["created_at"]),
        *([row["user"]] if everybody else []),
    ]
