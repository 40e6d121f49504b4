"""All machines and what runs on them, and the queue with the reason why each experiment waits."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from opengrid.core.records.attempts import Attempt, AttemptMachine
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Experiment, Run
from opengrid.engines.engine import Engines
from opengrid.planning.capacity import cpu_ranks, most_ranks
from opengrid.planning.fleet import Fleet, FleetMachine
from opengrid.planning.inventory import Inventory
from opengrid.services.documents.machines import (
    GpuDocument,
    HostDocument,
    MachinesDocument,
    QueueDocument,
    QueueRow,
    TenantDocument,
)
from opengrid.services.views import at_text, time_text
from opengrid.store.database import Database


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """An experiment that has machines."""

    run: Run
    experiment: Experiment
    attempt: Attempt
    machines: tuple[AttemptMachine, ...]


class Machines:
    """What every cluster has, and who has it."""

    def __init__(self, database: Database, engines: Engines) -> None:
        self._database, self._engines = database, engines

    def show(self) -> MachinesDocument:
        """Return all machines of all clusters, the server's own computer first."""
        with self._database.read() as tx:
            clusters = [LOCAL_CLUSTER, *(cluster.name for cluster in tx.clusters.list())]
            tenants: dict[str, list[Tenant]] = {}
            for cluster in clusters:
                for attempt in tx.attempts.active(cluster=cluster):
                    experiment = tx.runs.experiment_by_id(attempt.experiment_id)
                    tenant = Tenant(
                        run=tx.runs.find_by_id(experiment.run_id),
                        experiment=experiment,
                        attempt=attempt,
                        machines=tuple(tx.attempts.machines(attempt.id)),
                    )
                    tenants.setdefault(cluster, []).append(tenant)
            queued = tx.runs.queue_length()
        hosts: list[HostDocument] = []
        for cluster in clusters:
            inventory = self._engines.of(cluster).inventory()  # asks the system: not inside a transaction
            here = tenants.get(cluster, [])
            hosts += _fleet(inventory, here) if isinstance(inventory, Fleet) else [_computer(inventory, here)]
        return MachinesDocument(machines=hosts, queued=queued)

    def queue(self, *, limit: int, offset: int) -> QueueDocument:
        """Return a page of what waits for machines, oldest first: in the order of the queue."""
        with self._database.read() as tx:
            page, total = tx.runs.queue(limit=limit, offset=offset), tx.runs.queue_length()
            runs = {run.id: run for run in tx.runs.some({experiment.run_id for experiment in page})}
        rows = [
            QueueRow(
                position=offset + position,
                experiment=experiment.name,
                run=runs[experiment.run_id].name,
                user=runs[experiment.run_id].user,
                reason=experiment.reason,
                gpus=runs[experiment.run_id].plan.gpus,
                instance_type=runs[experiment.run_id].plan.instance_type,
                simulated=runs[experiment.run_id].plan.simulated,
                created_at=at_text(experiment.created_us),
            )
            for position, experiment in enumerate(page, 1)
        ]
        return QueueDocument(queue=rows, total=total)


def _computer(inventory: Inventory, tenants: Sequence[Tenant]) -> HostDocument:
    holders = {uuid: one for one in tenants for m in one.machines for node in m.devices for uuid in node}
    gpus = [
        GpuDocument(
            index=index,
            uuid=gpu.uuid,
            name=gpu.name,
            memory_mib=gpu.memory_mib,
            busy=gpu.busy if gpu.uuid not in holders else None,
            experiment=holders[gpu.uuid].experiment.name if gpu.uuid in holders else None,
            user=holders[gpu.uuid].run.user if gpu.uuid in holders else None,
        )
        for index, gpu in enumerate(inventory.accelerators)
    ]
    return HostDocument(
        hostname=inventory.hostname,
        cluster=LOCAL_CLUSTER,
        cpus=inventory.cpus,
        memory_mib=inventory.memory_mib,
        available_mib=inventory.available_mib,
        cpu_ranks_used=sum(cpu_ranks(one.run.plan) for one in tenants),
        cpu_ranks_most=most_ranks(inventory.memory_mib),
        gpus=gpus,
        experiments=[_tenant(one, None) for one in tenants],
    )


def _fleet(fleet: Fleet, tenants: Sequence[Tenant]) -> list[HostDocument]:
    return [_machine(fleet.cluster, machine, tenants) for machine in fleet.machines]


def _machine(cluster: str, machine: FleetMachine, tenants: Sequence[Tenant]) -> HostDocument:
    here = [one for one in tenants if any(m.address == machine.address for m in one.machines)]
    holders = [one for one in here for _ in range(_share(one, machine.address)[1])]
    return HostDocument(
        hostname=machine.address,
        cluster=cluster,
        cpus=machine.cpus,
        memory_mib=machine.memory_mib,
        available_mib=None,
        cpu_ranks_used=0,
        cpu_ranks_most=0,
        gpus=[
            GpuDocument(
                index=index,
                uuid="",  # which of a machine's GPUs it gave to whom, the cluster does not tell
                name=machine.accelerator,
                memory_mib=None,
                busy=None,
                experiment=holders[index].experiment.name if index < len(holders) else None,
                user=holders[index].run.user if index < len(holders) else None,
            )
            for index in range(machine.gpus)
        ],
        experiments=[_tenant(one, machine.address) for one in here],
    )


def _share(tenant: Tenant, address: str | None) -> tuple[int, int, int]:
    """Return how many machines, GPUs and ranks of its gang are at an address; of all machines for None."""
    gang = tenant.run.plan.gang
    indexes = [m.index for m in tenant.machines if address in (None, m.address)]
    gpus = sum(gang.gpus_of(index) for index in indexes)
    return len(indexes), gpus, sum(len(list(gang.ranks(index))) for index in indexes)


def _tenant(tenant: Tenant, address: str | None) -> TenantDocument:
    machines, gpus, ranks = _share(tenant, address)
    return TenantDocument(
        experiment=tenant.experiment.name,
        run=tenant.run.name,
        user=tenant.run.user,
        state=tenant.experiment.state.value,
        machines=machines,
        nodes=len(tenant.run.plan.gang.nodes),
        ranks=ranks,
        gpus=gpus,
        simulated=tenant.run.plan.is_simulated,
        started_at=time_text(tenant.experiment.started_us),
    )
