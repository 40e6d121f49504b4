"""`grid clusters`: machines beyond this computer."""

from __future__ import annotations

from pathlib import Path

import click

from opengrid.cli.options import connected, global_options
from opengrid.cli.output import Column, plural, print_json, print_table, settings
from opengrid.client.documents import CheckedMachine, ClusterDocument, ClusterRow
from opengrid.core.errors import InvalidValue


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
@click.option("--address", required=True, metavar="URL", help="The engine's API: http://HEAD:8265.")
@click.option("--token-file", metavar="FILE", help="Holds the token of the engine's API (RAY_AUTH_TOKEN).")
@click.option(
    "--types",
    metavar="TYPE:N,…",
    default="",
    help="Machines that the cluster can start by itself, with the most of each: 4_v100_16gb:8.",
)
@click.option("--work-dir", metavar="FOLDER", help="Where experiments work on every machine [/tmp/opengrid-work].")
@click.option("--python", metavar="PATH", help="Interpreter on every machine [default: the one that Ray runs with].")
@global_options
def add(
    name: str,
    *,
    engine: str,
    address: str,
    token_file: str | None,
    types: str,
    work_dir: str | None,
    python: str | None,
) -> None:
    """Take the cluster at URL in as NAME; `grid run --cluster NAME` starts runs there.

    Its machines need Python, torch and Ray, and must reach this server. Nothing is installed on them.
    """
    new: dict[str, object] = {
        "name": name,
        "engine": engine,
        "address": address,
        "token": _read_token(token_file),
        "possible": parse_types(types),
        "python": python,
    }
    if work_dir is not None:
        new["work_dir"] = work_dir
    with connected() as api:
        row = api.add_cluster(new)
    if settings().is_json:
        print_json(row)
    else:
        click.echo(f"{name} has {_size(row)}; `grid clusters check {name}` asks all of them")


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
        _print(document)


@clusters.command()
@click.argument("name")
@global_options
def check(name: str) -> int:
    """Ask every machine for its Python and torch, and whether it reaches the server; 1 if one has a problem."""
    with connected() as api:
        machines = api.check_cluster(name)
    if settings().is_json:
        print_json({"cluster": name, "machines": machines})
    else:
        columns = [Column(title=t) for t in ("Address", "Host", "Python", "torch", "lightning")]
        columns += [Column(title="To The Server", is_number=True), Column(title="Problem", may_wrap=True)]
        print_table(columns, [_checked(machine) for machine in machines])
    return 1 if any(machine.get("problem") for machine in machines) else 0


@clusters.command()
@click.argument("name")
@global_options
def remove(name: str) -> None:
    """Forget a cluster that no run uses any more. The cluster itself is left as it is."""
    with connected() as api:
        api.remove_cluster(name)
    if settings().is_json:
        print_json({"removed": name})
    else:
        click.echo(f"{name} is forgotten; the cluster itself was left as it is")


def parse_types(text: str) -> dict[str, int]:
    """Return `4_v100_16gb:8,…` as types with the most of each."""
    types: dict[str, int] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, colon, number = part.partition(":")
        if not colon or not number.isdecimal():
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
        return
    columns = [Column(title="Cluster"), Column(title="Engine"), Column(title="Address", may_wrap=True)]
    columns += [Column(title=t, is_number=True) for t in ("Machines", "CPUs", "GPUs")]
    columns += [Column(title="Problem", may_wrap=True)]
    print_table(
        columns,
        [
            [
                row["cluster"] + (" (default)" if row["default"] else ""),
                row["engine"],
                row["address"] or "-",
                *(str(number) for number in (row["machine_count"], row["cpus"], row["gpus"])),
                row["problem"] or "-",
            ]
            for row in rows
        ],
    )


def _print(document: ClusterDocument) -> None:
    click.echo(f"{document['cluster']}: {document['engine']} {document['address'] or ''}".rstrip())
    if document["problem"]:
        click.echo(f"does not answer: {document['problem']}")
    columns = [Column(title="Address"), Column(title="Type")]
    columns += [Column(title=t, is_number=True) for t in ("CPUs", "GPUs", "Memory")]
    columns += [Column(title="Accelerator"), Column(title="Experiments", may_wrap=True)]
    print_table(
        columns,
        [
            [
                machine["address"],
                machine["kind"] or "-",
                _used(machine["cpus_used"], machine["cpus"]),
                _used(machine["gpus_used"], machine["gpus"]),
                f"{machine['memory_mib'] / 1024:.0f} GiB",
                machine["accelerator"] or "-",
                ", ".join(machine["experiments"]) or "-",
            ]
            for machine in document["machines"]
        ],
    )
    for possible in document["possible"]:
        click.echo(f"can start up to {plural(possible['most'], 'machine')} of {possible['type']}")


def _used(used: int | None, all_of_them: int) -> str:
    return str(all_of_them) if used is None else f"{used}/{all_of_them}"


def _size(row: ClusterRow) -> str:
    return f"{plural(row['machine_count'], 'machine')} with {row['cpus']} CPUs and {plural(row['gpus'], 'GPU')}"


def _checked(machine: CheckedMachine) -> list[str]:
    took = machine.get("round_trip_ms")
    texts = (machine.get("hostname"), machine.get("python"), machine.get("torch"), machine.get("lightning"))
    return [
        machine["address"],
        *(text or "-" for text in texts),
        f"{took} ms" if took is not None else "-",
        machine.get("problem") or "-",
    ]


def _read_token(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        return Path(path).expanduser().read_text().strip()
    except OSError as error:
        raise InvalidValue(f"--token-file {path}: {error.strerror}", field="token") from error
