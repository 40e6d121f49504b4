"""`grid datastore`: versioned data."""

from __future__ import annotations

import os
from pathlib import Path

import click

from opengrid.cli.options import connected, global_options
from opengrid.cli.output import Column, ProgressLine, local_time, plural, print_json, print_table, settings, tell
from opengrid.client.api import Api
from opengrid.client.documents import DatastoreRow, StagingDocument
from opengrid.client.transfer import Material, copy_material, find_material
from opengrid.core.errors import GridError, InvalidValue
from opengrid.core.names import check_name, datastore_name_of
from opengrid.core.sizes import size_text


@click.group(invoke_without_command=True)
@click.option("--global", "everybody", is_flag=True, help="Everybody's datastores, with who made them.")
@global_options
@click.pass_context
def datastore(context: click.Context, *, everybody: bool) -> None:
    """List or create versioned data.

    Without a command: list.
    """
    if context.invoked_subcommand is None:
        _list(everybody=everybody)


@datastore.command("list")
@click.option("--global", "everybody", is_flag=True, help="Everybody's datastores, with who made them.")
@global_options
def list_datastores(*, everybody: bool) -> None:
    """List all versions, newest first."""
    _list(everybody=everybody)


@datastore.command("create")
@click.argument("source")
@click.option("--name", help="Name [default: the last part of SOURCE, lower-cased, cut at the first dot].")
@global_options
def create_datastore(source: str, *, name: str | None) -> None:
    """Make the next version of a datastore from a folder or file.

    A script gets at its content by an argument `grid:NAME:VERSION`, which becomes a path.
    """
    if "://" in source:
        raise InvalidValue(f"{source} is no folder or file of this computer", hint="download it first", field="source")
    path = Path(os.path.abspath(source))
    chosen = check_name(name if name is not None else datastore_name_of(str(path)), "datastore")
    material = find_material(path)
    with connected() as api:
        made = _send(api, material, api.create_datastore(chosen, str(path)))
    if settings().is_json:
        print_json(made)
        return
    click.echo(f"{made['name']}:{made['version']} has {plural(made['files'], 'file')}, {size_text(made['size'])}")
    click.echo(f"in a command, grid:{made['name']}:{made['version']} is its path")


def _send(api: Api, material: Material, opened: StagingDocument) -> DatastoreRow:
    """Copy and finish; whatever goes wrong, the version is given up rather than left half made."""
    name, version = opened["name"], opened["version"]
    line, done = ProgressLine(), 0

    def progress(size: int) -> None:
        nonlocal done
        done += size
        line.show(f"{name}:{version}  {size_text(done)} of {size_text(material.size)}")

    try:
        manifest = copy_material(material, Path(opened["staging"]), progress)
        line.show(f"{name}:{version}  verifying {size_text(material.size)}")
        return api.finish_datastore(
            name, version, digest=manifest.digest, files=len(manifest.files), size=manifest.size
        )
    except BaseException as error:
        line.clear()
        _give_up(api, name, version, error)
        raise
    finally:
        line.clear()


def _give_up(api: Api, name: str, version: int, error: BaseException) -> None:
    reason = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
    try:
        api.fail_datastore(name, version, reason)
    except GridError as second:  # the server refused the files itself, and has noted it
        if settings().debug:
            tell(f"cannot give up {name}:{version}: {second.message}")


def _list(*, everybody: bool) -> None:
    with connected() as api:
        rows = api.datastores()
    if settings().is_json:
        print_json({"datastores": rows})
        return
    if not rows:
        click.echo("no datastores yet: `grid datastore create FOLDER` makes one")
        return
    columns = [
        Column(title="Name", may_wrap=True),
        Column(title="Version", is_number=True),
        Column(title="Status"),
        Column(title="Files", is_number=True),
        Column(title="Size", is_number=True),
        Column(title="Created At"),
        *([Column(title="Created By")] if everybody else []),
    ]
    print_table(columns, [_row(row, everybody=everybody) for row in rows])


def _row(row: DatastoreRow, *, everybody: bool) -> list[str]:
    return [
        row["name"],
        str(row["version"]),
        row["state"],
        str(row["files"]),
        size_text(row["size"]),
        local_time(row["created_at"]),
        *([row["user"]] if everybody else []),
    ]
