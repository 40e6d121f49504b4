"""`grid server` and `grid version`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from opengrid import __version__
from opengrid.cli.options import global_options
from opengrid.cli.output import note, print_json, settings
from opengrid.client.api import Api
from opengrid.client.connect import running
from opengrid.client.home import About, Home, find_home, read_about
from opengrid.client.login import find_login
from opengrid.client.starting import check_here, start_server, stop_server
from opengrid.core.errors import Conflict, ServerUnreachable

if TYPE_CHECKING:
    from opengrid.client.documents import ServerDocument


@click.group()
@global_options
def server() -> None:
    """Start, stop or show the server behind all commands.

    Commands start one by themselves when they need it. It serves this user on this computer, and ends itself when it
    has been idle for 30 minutes.
    """


@server.command()
@click.option("--listen", metavar="ADDR", help="Serve others too: HOST, HOST:PORT or [IPV6]:PORT.")
@click.option("--tls-cert", metavar="FILE", help="Certificate, PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, PEM.")
@click.option("--insecure", is_flag=True, help="Allow --listen without TLS, on a network that you trust.")
@global_options
def start(*, listen: str | None, tls_cert: str | None, tls_key: str | None, insecure: bool) -> None:
    """Start the server; nothing happens when it runs already."""
    home = find_home(os.environ)
    about = _running(home)
    if about is not None and listen is not None:
        raise Conflict(f"a server runs already at {about.url}", hint="`grid server stop` first; experiments go on")
    if about is None:
        arguments = [
            *(["--listen", listen] if listen else []),
            *(["--tls-cert", os.path.abspath(tls_cert)] if tls_cert else []),
            *(["--tls-key", os.path.abspath(tls_key)] if tls_key else []),
            *(["--insecure"] if insecure else []),
        ]
        about = start_server(home, arguments=arguments)
    if not about.is_loopback and about.url.startswith("http:"):
        note("without TLS, whoever is on the way reads tokens, code and data (--tls-cert FILE --tls-key FILE)")
    if settings().is_json:
        print_json(_document(about))
    else:
        click.echo(f"the server runs at {about.url} (process {about.pid})")
        if not about.is_loopback:
            click.echo("for others: `grid user create NAME` here, `grid login URL` on their computers")


@server.command()
@global_options
def stop() -> None:
    """Stop the server; experiments go on, and the next command finds them."""
    pid = stop_server(find_home(os.environ))
    if settings().is_json:
        print_json({"stopped": pid is not None, "pid": pid})
    else:
        click.echo("no server was running" if pid is None else f"the server (process {pid}) has stopped")


@server.command()
@global_options
def status() -> None:
    """Show where the server is; none is started."""
    home = find_home(os.environ)
    if find_login(os.environ, home) is None:
        _running(home)
    http = running(os.environ)
    if http is None:
        raise ServerUnreachable(f"no server runs for {home.root}", hint="the next command that needs one starts it")
    try:
        document = Api(http).server()
    finally:
        http.close()
    if settings().is_json:
        print_json(document)
        return
    for title in ("url", "pid", "version", "started_at", "home"):
        click.echo(f"{title.replace('_', ' '):<11} {document[title]}")
    if document["home"] == str(home.root):
        click.echo(f"{'log':<11} {home.log_file}")


@click.command()
@global_options
def version() -> None:
    """Show the version."""
    if settings().is_json:
        print_json({"version": __version__})
    else:
        click.echo(f"opengrid {__version__}")


def _running(home: Home) -> About | None:
    """Return what server.json says of a server that runs; a killed one's is not believed."""
    about = read_about(home)
    if about is None:
        return None
    check_here(about, home)
    return about if about.is_elsewhere or about.is_alive else None


def _document(about: About) -> ServerDocument:
    return {
        "pid": about.pid,
        "url": about.url,
        "version": about.version,
        "started_at": about.started_at,
        "home": about.home,
    }
