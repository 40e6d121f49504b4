"""One experiment in full: where its ranks are and how they do, what they were given, what happened."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from opengrid.core.gang import Gang
from opengrid.core.records.attempts import (
    Attempt,
    AttemptMachine,
    AttemptState,
    Generation,
    GenerationPhase,
    MachineState,
    RankExit,
)
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Event, Experiment, ExperimentState, Run
from opengrid.engines.engine import Engines
from opengrid.planning.inventory import Inventory
from opengrid.planning.link import web_page
from opengrid.services.assignments import work_folder
from opengrid.services.differences import Differences
from opengrid.services.documents.experiments import (
    DeviceDocument,
    ExperimentDocument,
    MachineDocument,
    NodeDocument,
    RankDocument,
    UnreachableDocument,
)
from opengrid.services.views import at_text, event_view, experiment_fields, plan_view, start_views, time_text
from opengrid.store.database import Database

_NOBODY: Mapping[int, int] = {}

#: A longer difference nobody reads on a screen.
_LONGEST_DIFF = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """What is known of the machines and ranks of an experiment's newest attempt."""

    attempt: Attempt
    machines: tuple[AttemptMachine, ...]
    exits: Mapping[int, RankExit]  #: of the newest generation, by rank
    silent: Mapping[int, int]  #: since when (us) an agent that should speak does not, by machine


class Experiments:
    """Reads experiments. `unreachable` tells of an attempt which agents have fallen silent."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        differences: Differences,
        *,
        work: Path,
        unreachable: Callable[[str], Mapping[int, int]],
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._engines, self._differences, self._work = database, engines, differences, work
        self._unreachable, self._now_us = unreachable, now_us

    def show(self, name: str) -> ExperimentDocument:
        """Return all that is known of one experiment."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment(name)
            run, events = tx.runs.find_by_id(experiment.run_id), tx.runs.events(experiment.id)
            attempts = tx.attempts.of_experiment(experiment.id)
            starts = [(attempt, start) for attempt in attempts for start in tx.attempts.generations(attempt.id)]
            newest = attempts[-1] if attempts else None
            machines = tuple(tx.attempts.machines(newest.id)) if newest else ()
            exits = tx.attempts.exits(newest.id, newest.generation) if newest else []
        placement = None
        if newest is not None:
            is_running = experiment.state is ExperimentState.RUNNING
            placement = Placement(
                attempt=newest,
                machines=machines,
                exits={one.rank: one for one in exits},
                silent=self._unreachable(newest.id) if is_running else _NOBODY,
            )
        return self._document(run, experiment, events, starts, placement)

    def run_of(self, name: str) -> Run:
        """Return the run of an experiment."""
        with self._database.read() as tx:
            return tx.runs.find_by_id(tx.runs.experiment(name).run_id)

    def diff(self, name: str) -> str:
        """Return how an experiment's tree differs from its commit, as everybody may see it; NotFound when it does not.

        Bytes that are no UTF-8 are escapes in it.
        """
        return self._differences.told(self.run_of(name), most_bytes=_LONGEST_DIFF)

    def _document(
        self,
        run: Run,
        experiment: Experiment,
        events: Sequence[Event],
        starts: Sequence[tuple[Attempt, Generation]],
        placement: Placement | None,
    ) -> ExperimentDocument:
        silent = placement.silent if placement else _NOBODY
        is_here = experiment.attempts and run.plan.cluster == LOCAL_CLUSTER
        folder = work_folder(self._work, experiment, experiment.attempts) if is_here else None
        place = run.spec.source.place
        inventory = self._engines.of(LOCAL_CLUSTER).inventory() if is_here and run.plan.devices else None
        names = {a.uuid: a.name for a in inventory.accelerators} if isinstance(inventory, Inventory) else {}
        return ExperimentDocument(
            **experiment_fields(run, experiment, now_us=self._now_us()),
            user=run.user,
            script=run.spec.program.target,
            framework=run.spec.framework.value,
            price_per_hour=round(run.plan.price_per_hour, 4),
            environment=sorted(run.spec.environment),
            source_page=web_page(place.url, place.commit, place.path) if place is not None else None,
            plan=plan_view(run.plan),
            work_dir=str(folder) if folder else None,
            placement=placed(run.plan.gang, placement, names),
            unreachable=[UnreachableDocument(machine=m, since=at_text(us)) for m, us in sorted(silent.items())],
            starts=start_views(starts),
            events=[event_view(event) for event in events],
        )


def placed(gang: Gang, placement: Placement | None, names: Mapping[str, str]) -> list[MachineDocument]:
    """Return the machines of a gang with their nodes and ranks; `names` are those of GPUs by UUID."""
    return [_machine(gang, index, placement, names) for index in range(gang.machines)]


def _machine(gang: Gang, index: int, placement: Placement | None, names: Mapping[str, str]) -> MachineDocument:
    machine = placement.machines[index] if placement is not None else None
    nodes: list[NodeDocument] = []
    ranks = list(gang.ranks(index))
    for position, node in enumerate(gang.nodes_of(index)):
        devices = machine.devices[position] if machine is not None and position < len(machine.devices) else ()
        nodes.append(
            NodeDocument(
                node=node.index,
                gpus=node.gpus,
                cpus=node.cpus,
                devices=[DeviceDocument(uuid=uuid, name=names.get(uuid, "")) for uuid in devices],
                ranks=[
                    _rank(place.rank, place.local_rank, machine, placement)
                    for place in ranks
                    if place.node.index == node.index
                ],
            )
        )
    return MachineDocument(
        machine=index,
        hostname=machine.hostname if machine is not None else None,
        address=machine.address if machine is not None else None,
        state=(machine.state if machine is not None else MachineState.WAITING).value,
        unreachable_since=time_text(placement.silent.get(index)) if placement is not None else None,
        nodes=nodes,
    )


def _rank(rank: int, local_rank: int, machine: AttemptMachine | None, placement: Placement | None) -> RankDocument:
    exit = placement.exits.get(rank) if placement is not None else None
    return RankDocument(
        rank=rank,
        local_rank=local_rank,
        state=_rank_state(machine, placement, exit),
        exit_code=exit.exit_code if exit is not None else None,
        exception=exit.exception if exit is not None else None,
        peak_mib=exit.peak_mib if exit is not None else None,
    )


def _rank_state(machine: AttemptMachine | None, placement: Placement | None, exit: RankExit | None) -> str:
    """Return waiting | starting | running | succeeded | failed | killed | ended: the last, without a word of how."""
    if machine is None or placement is None:
        return "waiting"
    if exit is not None:
        return "succeeded" if exit.exit_code == 0 else "killed" if exit.exit_code < 0 else "failed"
    attempt = placement.attempt
    if attempt.state.is_terminal or attempt.state is AttemptState.ENDING or machine.state is MachineState.LOST:
        return "ended"
    if attempt.generation == 0 or machine.state is MachineState.WAITING:
        return "waiting"
    if attempt.phase in (GenerationPhase.PREPARING, GenerationPhase.RESTORING):
        return "starting"
    if machine.ended >= attempt.generation:
        return "ended"
    return "running" if machine.started >= attempt.generation else "starting"
