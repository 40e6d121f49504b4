"""How clusters and their machines look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from opengrid.cli.output import Column, plural, print_table

if TYPE_CHECKING:
    from opengrid.client.documents import CheckedMachine, ClusterDocument, ClusterRow


def print_clusters(rows: Sequence[ClusterRow]) -> None:
    """Print the table of all clusters."""
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


def print_cluster(document: ClusterDocument) -> None:
    """Print the machines of a cluster, what runs on each, and what is missing."""
    click.echo(f"{document['cluster']}: {document['engine']} {document['address'] or ''}".rstrip())
    if document["problem"]:
        click.echo(f"does not answer: {document['problem']}")
    columns = [Column(title="Address"), Column(title="Type")]
    columns += [Column(title=t, is_number=True) for t in ("CPUs Used", "GPUs Used", "Memory")]
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
    for host in document["hosts"]:
        if host["problem"]:
            click.echo(f"{host['host']} ({host['address']}): {host['problem']}")
    if any(host["problem"] for host in document["hosts"]):
        click.echo(f"`grid clusters start {document['cluster']}` starts Ray where it does not run")
    for possible in document["possible"]:
        click.echo(f"can start up to {plural(possible['most'], 'machine')} of {possible['type']}")


def print_checks(machines: Sequence[CheckedMachine]) -> None:
    """Print what every machine has told about itself."""
    columns = [Column(title=t) for t in ("Address", "Host", "Python", "Ray", "torch", "lightning")]
    columns += [Column(title=t, may_wrap=True) for t in ("GPUs", "Mounts")]
    columns += [Column(title="To The Server", is_number=True), Column(title="Problem", may_wrap=True)]
    print_table(columns, [_checked(machine) for machine in machines])


def cluster_size(row: ClusterRow) -> str:
    """Return how large a cluster is: `3 machines with 24 CPUs and 12 GPUs`."""
    return f"{plural(row['machine_count'], 'machine')} with {row['cpus']} CPUs and {plural(row['gpus'], 'GPU')}"


def _used(used: int | None, all_of_them: int) -> str:
    return str(all_of_them) if used is None else f"{used}/{all_of_them}"


def _checked(machine: CheckedMachine) -> list[str]:
    torch, build, took = machine.get("torch"), machine.get("torch_build"), machine.get("round_trip_ms")
    texts = [machine.get(what) for what in ("hostname", "python", "ray")]
    texts += [f"{torch} ({build})" if torch and build else torch, machine.get("lightning"), _gpus(machine)]
    no_mounts = machine.get("no_mounts")
    return [
        machine["address"],
        *(text or "-" for text in texts),
        f"no: {no_mounts}" if no_mounts else machine.get("mounts") or "-",
        f"{took} ms" if took is not None else "-",
        machine.get("problem") or "-",
    ]


def _gpus(machine: CheckedMachine) -> str | None:
    number, models = machine.get("gpus"), machine.get("gpu_models")
    if not number:
        return None
    if machine.get("gpus_are_simulated"):
        return f"{number}, only counted"
    return f"{number} ({', '.join(dict.fromkeys(models))})" if models else str(number)
