"""`grid view` and `grid tensorboard`: pages of the server, opened by a link that signs the browser in."""

from __future__ import annotations

import getpass
import os
import socket
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from opengrid.cli.completing import names_of
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import note, print_json, settings, tell
from opengrid.client.api import Api
from opengrid.client.home import find_home
from opengrid.core.names import split_experiment_name

if TYPE_CHECKING:
    from opengrid.client.documents import SignInLinkDocument

_LOOPBACK = ("127.", "localhost", "::1")


@click.command()
@click.argument("name", required=False, shell_complete=names_of)
@global_options
def view(name: str | None) -> None:
    """Open the web page, or that of the run or experiment NAME.

    Prints a link that signs one browser in, once, within five minutes. Where there is a display, a browser opens it.
    """
    with connected() as api:
        link = api.sign_in_link(_path(api, name))
    _show(link)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="RUN_OR_EXPERIMENT...", shell_complete=names_of)
@global_options
def tensorboard(names: tuple[str, ...]) -> None:
    """Open TensorBoard for runs and experiments.

    The server runs it, and ends it when nobody has looked at it for ten minutes; loading its page starts it again.
    Prints a link that signs one browser in, once, within five minutes. Where there is a display, a browser opens it.
    """
    with connected() as api:
        link = api.sign_in_link(api.tensorboard(names)["path"])
    _show(link)


def _show(link: SignInLinkDocument) -> None:
    tunnel = tunnel_to(link["url"], os.environ)
    if settings().is_json:
        print_json({**link, "ssh": tunnel})
        return
    click.echo(link["url"])
    if has_display(sys.platform, os.environ) and _opened(link["url"]):
        tell("opened in your browser; the link works once, within five minutes")
        return
    note("the link works once, within five minutes")
    if tunnel is not None:
        note(f"from another computer, run this there first: {tunnel}")


def _path(api: Api, name: str | None) -> str:
    if name is None:
        return "/"
    if split_experiment_name(name) is not None:
        return f"/experiments/{api.experiment(name)['experiment']}"
    return f"/runs/{api.run(name)['run']}"


def _opened(url: str) -> bool:
    """Open a browser; False when there is none. Others on this computer do not see the link in its command line."""
    import webbrowser  # loads more than the rest of the command

    page = Path(find_home(os.environ).root, "view.html")
    page.unlink(missing_ok=True)
    with open(os.open(page, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f'<!doctype html><meta http-equiv="refresh" content="0; url={escape(url)}">\n')
    return webbrowser.open(page.as_uri())


def has_display(platform: str, environment: Mapping[str, str]) -> bool:
    """Whether a browser can show itself to whoever types."""
    if platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in environment
    return any(environment.get(variable) for variable in ("DISPLAY", "WAYLAND_DISPLAY"))


def tunnel_to(url: str, environment: Mapping[str, str]) -> str | None:
    """Return the ssh command that makes a loopback server reachable from another computer; None for any other."""
    parts = urlsplit(url)
    if not (parts.hostname or "").startswith(_LOOPBACK):
        return None
    connection = environment.get("SSH_CONNECTION", "").split()  # client's address and port, then ours
    host = connection[2] if len(connection) == 4 else socket.gethostname()
    return f"ssh -N -L {parts.port}:{parts.netloc} {getpass.getuser()}@{host}"
