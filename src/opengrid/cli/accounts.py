"""`grid login`, `grid logout`, `grid user`: whose server is used, and who may use it."""

from __future__ import annotations

import os
import sys

import click

from opengrid.cli.completing import files
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import Column, local_time, note, print_json, print_table, settings
from opengrid.cli.tokens import read_token_file
from opengrid.client.api import Api
from opengrid.client.home import find_home
from opengrid.client.http import Http
from opengrid.client.login import Login, forget_login, keep_login
from opengrid.core.errors import InvalidValue, ServerUnreachable, Unauthorized


@click.command()
@click.argument("url")
@click.option(
    "--token-file",
    metavar="FILE",
    shell_complete=files,
    help="Read the token there [default: ask for it, or read stdin].",
)
@click.option(
    "--certificate",
    metavar="FILE",
    shell_complete=files,
    help="PEM of the server, when no authority has signed its certificate.",
)
@global_options
def login(url: str, *, token_file: str | None, certificate: str | None) -> None:
    """Use the server at URL from now on.

    Whoever runs it makes a token for you by `grid user create YOU`. It is kept in GRID_HOME, where only you can read
    it. GRID_URL and GRID_TOKEN in the environment come first, for machines on which nobody types.
    """
    address = url.rstrip("/")
    trusted = os.path.abspath(certificate) if certificate else None
    if trusted and not os.path.isfile(trusted):
        raise InvalidValue(f"--certificate {certificate}: there is no such file", field="certificate")
    http = Http(address, certificate=trusted)  # refuses what is no address before a token is asked for
    http.close()
    token = _read_token(token_file)
    try:
        me = Api(Http(address, token=token, certificate=trusted)).session()
    except Unauthorized as error:
        raise Unauthorized(
            f"{address} does not know this token", hint="`grid user create YOU` there makes one"
        ) from error
    except ServerUnreachable as error:
        raise ServerUnreachable(error.message, hint=_way_hint(address, error)) from error
    keep_login(find_home(os.environ), Login(url=address, token=token, user=me["user"], certificate=trusted))
    if os.environ.get("GRID_URL"):
        note("GRID_URL is set and comes first")
    if settings().is_json:
        print_json({"user": me["user"], "is_admin": me["is_admin"], "url": address})
    else:
        click.echo(f"signed in to {address} as {me['user']}; `grid logout` goes back to this computer")


@click.command()
@global_options
def logout() -> None:
    """Use this computer's own server again. The token stays valid until it is revoked."""
    left = forget_login(find_home(os.environ))
    if settings().is_json:
        print_json({"url": left.url if left else None})
    else:
        click.echo(f"signed out of {left.url}" if left else "you were not signed in anywhere")


@click.group(invoke_without_command=True)
@global_options
@click.pass_context
def user(context: click.Context) -> None:
    """Show who you are; make, list and revoke users.

    Everybody with a token sees all runs, logs and artifacts; only their owner, and the user who runs the server,
    can stop, resume or delete them, or see the variables that they were given.
    """
    if context.invoked_subcommand is not None:
        return
    with connected() as api:
        me, server = api.session(), api.server()
    if settings().is_json:
        print_json({"user": me["user"], "is_admin": me["is_admin"], "url": server["url"]})
    else:
        role = ", who runs the server" if me["is_admin"] else ""
        click.echo(f"{me['user']}{role}, at {server['url']}")


@user.command("create")
@click.argument("name")
@global_options
def create_user(name: str) -> None:
    """Make a user and show the token, this once.

    What a user's script does on this server's machines, it does as the user who runs the server.
    """
    with connected() as api:
        token, server = api.create_user(name), api.server()
    if settings().is_json:
        print_json({"user": name, "token": token, "url": server["url"]})
        return
    click.echo(token)
    note(f"this is shown once. On {name}'s computer: grid login {server['url']}")
    if server["url"].startswith(("http://127.", "http://localhost")):
        note("this server is reached from this computer only: `grid server start --listen ADDRESS` serves others")
    note(f"what {name} runs on this computer runs as you: give tokens to people whom you would give a shell")


@user.command("list")
@global_options
def list_users() -> None:
    """List all users."""
    with connected() as api:
        rows = api.users()
    if settings().is_json:
        print_json({"users": rows})
        return
    columns = [Column(title="User"), Column(title="Token"), Column(title="Role"), Column(title="Created At")]
    print_table(
        columns,
        [
            [
                row["user"],
                "valid" if row["is_active"] else "revoked",
                "admin" if row["is_admin"] else "user",
                local_time(row["created_at"]),
            ]
            for row in rows
        ],
    )


@user.command("set-cluster-context")
@click.argument("cluster")
@global_options
def set_cluster_context(cluster: str) -> None:
    """Choose the cluster that your runs go to when they name none; `local` is the server's own computer."""
    with connected() as api:
        api.set_default_cluster(cluster)
    if settings().is_json:
        print_json({"cluster": cluster})
    else:
        click.echo(f"your runs go to {cluster} from now on")


user.add_command(set_cluster_context, "set-default-cluster")


@user.command("revoke")
@click.argument("name")
@global_options
def revoke_user(name: str) -> None:
    """Make a user's token worthless at once; what they made stays theirs."""
    with connected() as api:
        api.revoke_user(name)
    if settings().is_json:
        print_json({"revoked": name})
    else:
        click.echo(f"the token of {name} is worthless now; `grid user create {name}` gives a new one")


def _way_hint(address: str, error: ServerUnreachable) -> str:
    if "certificate" in error.message.lower():
        return "--certificate FILE names the server's own"
    if address.startswith("http://"):
        return "is it https://? `grid server status`, typed where it runs, tells its address"
    return "`grid server status`, typed where it runs, tells its address"


def _read_token(file: str | None) -> str:
    """Return the token from a file, from a person, or from stdin; never from the command line, which others can see."""
    if file is not None:
        return read_token_file(file)
    if sys.stdin is not None and sys.stdin.isatty():
        token = str(click.prompt("token", hide_input=True, err=True)).strip()
    else:
        token = sys.stdin.readline().strip() if sys.stdin is not None else ""
    if not token or not token.isprintable() or " " in token:
        raise InvalidValue("there is no token", hint="type it when asked, pipe it in, or name a file: --token-file")
    return token
