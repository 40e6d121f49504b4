"""`grid clusters`: machines beyond this computer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

import click

from opengrid.cli.cluster_logs import logs
from opengrid.cli.cluster_view import cluster_size, print_checks, print_cluster, print_clusters
from opengrid.cli.durations import Duration
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import ProgressLine, note, print_json, settings, tell
from opengrid.cli.tokens import read_token_file
from opengrid.client.api import Api
from opengrid.core.errors import InvalidValue, error_from_wire

if TYPE_CHECKING:
    from opengrid.client.documents import ClusterRow, ClusterStartDocument, RemovedClusterDocument

F = TypeVar("F", bound=Callable[..., object])

#: How often a start is asked how far it is.
_LOOK_S = 0.3


def changing_options(function: F) -> F:
    """Add the options of `grid edit cluster`."""
    for option in reversed(
        [
            click.option("--address", metavar="URL", help="The engine's API, when it has moved."),
            click.option("--token-file", metavar="FILE", help="Holds the new token of the engine's API."),
            click.option(
                "--types", metavar="TYPE:N,…", help="Machines that the cluster can start by itself; '' = none."
            ),
            click.option("--work-dir", metavar="FOLDER", help="Where experiments work on every machine."),
            click.option("--python", metavar="PATH", help="Interpreter on every machine; '' = the one Ray runs with."),
            click.option(
                "--replace-within",
                "replace_s",
                type=Duration(),
                help="Wait so long for a machine in the place of a lost one; 0s = as usual.",
            ),
        ]
    ):
        function = option(function)
    return function


#: Machines of a type that a template lets start when nobody says how many.
_USUAL_MOST = 4


@click.group(invoke_without_command=True)
@global_options
@click.pass_context
def clusters(context: click.Context) -> None:
    """List, add, check or remove clusters: machines beyond this computer.

    Without a command: list.
    """
    if context.invoked_subcommand is None:
        _list()


@clusters.command("list")
@global_options
def list_clusters() -> None:
    """List all clusters."""
    _list()


@clusters.command()
@click.argument("name")
@click.option("--engine", default="ray", show_default=True, help="What starts gangs there.")
@click.option("--address", metavar="URL", help="The API of an engine that runs: http://HEAD:8265.")
@click.option(
    "--hosts",
    metavar="HOST,…",
    default="",
    help="Start the engine on these, its head on the first: [USER@]HOST[:PORT], or names of ~/.ssh/config.",
)
@click.option("--install", metavar="PACKAGE,…", default="", help="What --hosts get beside Ray: torch,lightning.")
@click.option("--token-file", metavar="FILE", help="Holds the token of the engine's API (RAY_AUTH_TOKEN).")
@click.option(
    "--types",
    metavar="TYPE:N,…",
    default="",
    help="Machines that the cluster can start by itself, with the most of each: 4_v100_16gb:8.",
)
@click.option("--work-dir", metavar="FOLDER", help="Where experiments work on every machine [/tmp/opengrid-work].")
@click.option(
    "--python",
    metavar="PATH",
    help="Interpreter on every machine, with torch and Ray [default: the one Ray runs with].",
)
@click.option(
    "--replace-within",
    "replace_s",
    type=Duration(),
    help="Wait so long for a machine in the place of a lost one [1m; 15m with --types].",
)
@global_options
def add(
    name: str,
    *,
    engine: str,
    address: str | None,
    hosts: str,
    install: str,
    token_file: str | None,
    types: str,
    work_dir: str | None,
    python: str | None,
    replace_s: float | None,
) -> None:
    """Take a cluster in as NAME; `grid run --cluster NAME` starts runs there. Its machines must reach this server.

    --address takes one that runs: its machines need Python, torch and Ray, and adding them installs nothing.

    --hosts makes one of computers that have ssh and Python, by the ssh keys and settings of the user who runs the
    server: Ray is started on each with the Python there that has torch, and installed beside it where it lacks Ray.
    """
    if bool(hosts) == bool(address):
        raise InvalidValue("a cluster is made of hosts, or has an address", hint="--hosts HOST,… or --address URL")
    if token_file and hosts:
        raise InvalidValue(
            "--token-file belongs to --address: hosts get a token of their own", hint="leave it out", field="token"
        )
    if install and address:
        raise InvalidValue(
            "--install belongs to --hosts",
            hint="what requirements.txt names is installed when a run starts",
            field="install",
        )
    new: dict[str, object] = {"name": name, "engine": engine, "possible": parse_types(types), "python": python}
    new |= {name: value for name, value in (("work_dir", work_dir), ("replace_s", replace_s)) if value is not None}
    token = read_token_file(token_file) if token_file else None
    with connected() as api:
        if address:
            row = api.add_cluster({**new, "address": address, "token": token})
        else:
            made = api.make_cluster({**new, "hosts": _listed(hosts), "install": _listed(install)})
            watch_start(api, made)
            row = api.cluster(name)
    if settings().is_json:
        print_json(row)
    else:
        click.echo(f"{name} has {cluster_size(row)}; `grid clusters check {name}` asks all of them")


@clusters.command()
@click.argument("name")
@global_options
def show(name: str) -> None:
    """Show the machines of a cluster, and what runs on each."""
    with connected() as api:
        document = api.cluster(name)
    if settings().is_json:
        print_json(document)
    else:
        print_cluster(document)


@clusters.command()
@click.argument("name")
@global_options
def check(name: str) -> int:
    """Ask every machine for its Python, torch, GPUs and mounts, and for its way to the server; 1 if one has a problem.

    "no" under Mounts: arguments that name a datastore's mount are rewritten there.
    """
    with connected() as api:
        machines = api.check_cluster(name)
    if settings().is_json:
        print_json({"cluster": name, "machines": machines})
    else:
        print_checks(machines)
    return 1 if any(machine.get("problem") for machine in machines) else 0


clusters.add_command(logs)


@clusters.command()
@click.option("--provider", default="aws", show_default=True, help="The cloud that sells the machines.")
@click.option(
    "--types", required=True, metavar="TYPE[:N],…", help=f"Machines to start, with the most of each [{_USUAL_MOST}]."
)
@click.option("--region", default="us-east-1", show_default=True, help="Where the machines are.")
@click.option("--image", metavar="AMI", help="What the machines boot from: Python 3.10 and a driver for the GPUs.")
@global_options
def template(provider: str, types: str, region: str, image: str | None) -> None:
    """Write a file for `ray up`: a cluster on a cloud that starts machines when runs need them, on the spot market too.

    What to type next stands in its first lines.
    """
    with connected() as api:
        made = api.cluster_template(provider, parse_types(types, most=_USUAL_MOST), region, image)
    if settings().is_json:
        print_json(made)
    else:
        click.echo(made["text"], nl=False)


@clusters.command()
@click.argument("name")
@global_options
def start(name: str) -> None:
    """Start Ray on those hosts of a cluster of --hosts where it does not run: after a restart, for one."""
    with connected() as api:
        watch_start(api, api.start_cluster(name))
        row = api.cluster(name)
    if settings().is_json:
        print_json(row)
    else:
        click.echo(f"{name} has {cluster_size(row)}")


@clusters.command()
@click.argument("name")
@click.option("--force", is_flag=True, help="Forget it also when one of its hosts cannot be reached.")
@global_options
def remove(name: str, *, force: bool) -> None:
    """Forget a cluster that no run uses any more.

    Ray is ended where `clusters add --hosts` has started it; any other cluster is left as it is.
    """
    with connected() as api:
        removal = remove_cluster(api, name, force=force)
    if settings().is_json:
        print_json(removal)


def remove_cluster(api: Api, name: str, *, force: bool = False) -> RemovedClusterDocument:
    """Forget a cluster, and say what became of it."""
    removal = api.remove_cluster(name, force=force)
    if settings().is_json:
        return removal
    if removal["ended"]:
        click.echo(f"{name} is forgotten, and Ray has ended on {', '.join(removal['ended'])}")
    else:
        click.echo(f"{name} is forgotten; {'nothing of it was ended' if removal['left'] else 'it was left as it is'}")
    for host in removal["left"]:
        note(f"Ray may still run on {host['host']}: {host['problem']}; end it there, or restart that computer")
    return removal


def change_cluster(name: str, plain: Mapping[str, object], *, token_file: str | None, types: str | None) -> ClusterRow:
    """Change a cluster by the options of `changing_options`, those that are given; return its row."""
    changes = {what: value for what, value in plain.items() if value is not None}
    if types is not None:
        changes["possible"] = parse_types(types)
    if token_file is not None:
        changes["token"] = read_token_file(token_file)
    if not changes:
        raise InvalidValue("nothing is to be changed", hint="`grid edit cluster --help` lists what can be")
    with connected() as api:
        return api.change_cluster(name, changes)


def watch_start(api: Api, begun: ClusterStartDocument) -> None:
    """Show what is done on the hosts of a cluster until they are started; raise what that ended with."""
    line, told, seen = ProgressLine(), 0, begun
    try:
        while True:
            _show_start(line, seen)
            told += len(seen["lines"])
            if seen["is_over"]:
                break
            time.sleep(_LOOK_S)
            seen = api.cluster_start(begun["cluster"], told)
    except KeyboardInterrupt:
        line.clear()
        note(f"the server goes on with that; `grid clusters` lists {begun['cluster']} when it runs")
        raise
    line.clear()
    if seen["error"] is not None:
        raise error_from_wire(0, {"error": seen["error"]})


def _show_start(line: ProgressLine, seen: ClusterStartDocument) -> None:
    for one in seen["lines"]:
        text = f"{one['host']}: {one['text']}"
        if line.is_possible and one["text"].startswith("pip: "):
            line.show(text)
        elif not settings().is_json:
            line.clear()
            tell(text)


def parse_types(text: str, *, most: int | None = None) -> dict[str, int]:
    """Return `4_v100_16gb:8,…` as types with the most of each; `most` is for those without a number."""
    types: dict[str, int] = {}
    for part in _listed(text):
        name, colon, number = part.partition(":")
        if not colon and most is not None:
            number = str(most)
        elif not colon or not number.isdecimal():
            raise InvalidValue(
                f"--types {part!r} is no type with a number", hint="TYPE:N, such as 4_v100_16gb:8", field="possible"
            )
        types[name] = int(number)
    return types


def _list() -> None:
    with connected() as api:
        rows = api.clusters()
    if settings().is_json:
        print_json({"clusters": rows})
    else:
        print_clusters(rows)


def _listed(text: str) -> list[str]:
    return [part for part in (part.strip() for part in text.split(",")) if part]
