"""`grid secret`: texts that ranks get as variables, and that no log, record or screen shows."""

from __future__ import annotations

import sys

import click

from opengrid.cli.options import connected, global_options
from opengrid.cli.output import Column, local_time, print_json, print_table, settings
from opengrid.core.errors import InvalidValue
from opengrid.core.names import check_secret_name


@click.group()
def secret() -> None:
    """Keep tokens and passwords for scripts.

    `grid run --secret NAME` gives one to a script as the variable NAME. They are encrypted on the server, never shown
    again, and hidden in logs.
    """


@secret.command("set")
@click.argument("name")
@global_options
def set_secret(name: str) -> None:
    """Store the secret NAME, or replace it.

    Its value is asked for, or read from stdin; it is no argument, because others on this computer see those.
    git@HOST is the token with which the server reads private repositories of a git host.
    """
    check_secret_name(name)
    value = _read_value(name)
    with connected() as api:
        api.set_secret(name, value)
    if settings().is_json:
        print_json({"secret": name})
    else:
        click.echo(f"{name} is stored")


@secret.command("list")
@global_options
def list_secrets() -> None:
    """Show the names of your secrets."""
    with connected() as api:
        found = api.secrets()
    if settings().is_json:
        print_json({"secrets": found})
    else:
        columns = [Column(title="Name"), Column(title="Changed")]
        print_table(columns, [[row["name"], local_time(row["changed_at"])] for row in found])


@secret.command("delete")
@click.argument("name")
@global_options
def delete_secret(name: str) -> None:
    """Forget the secret NAME."""
    with connected() as api:
        api.delete_secret(name)
    if settings().is_json:
        print_json({"deleted": name})
    else:
        click.echo(f"{name} is forgotten")


def _read_value(name: str) -> str:
    if sys.stdin.isatty():
        value: str = click.prompt(f"{name}", hide_input=True, err=True)
        return value
    try:
        value = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise InvalidValue(f"the value for {name} is no text in UTF-8", hint="base64 makes one of it") from None
    value = value[:-1] if value.endswith("\n") and value.count("\n") == 1 else value
    if not value:
        raise InvalidValue(f"there is no value for {name}: stdin is empty", hint=f"grid secret set {name} < FILE")
    return value
