"""Admits experiments: from queued to pending, with machines and devices, as planning.queue decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opengrid.core.records.attempts import Attempt, AttemptMachine, AttemptState, GenerationPhase, MachineState
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.tokens import attempt_token, token_hash
from opengrid.engines.engine import Engines
from opengrid.planning.capacity import cpu_ranks
from opengrid.planning.fleet import Fleet, Placed
from opengrid.planning.fleet_queue import admit_to_fleet
from opengrid.planning.inventory import Inventory, visible_accelerators
from opengrid.planning.queue import Holding, Start, Waiting, admit
from opengrid.store.database import Database, Transaction

_TOKEN_LIFE_US = 10 * 60 * 1_000_000


class Admission:
    """Stages of the controller that move experiments which have no attempt under way."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        *,
        secret: str,
        waits: Callable[[], str | None],
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._engines, self._secret, self._now_us = database, engines, secret, now_us
        self._waits = waits  #: why nothing new begins at the moment, in words

    def end_stopped(self) -> bool:
        """End queued experiments that shall stop, and those whose environment is being made."""
        with self._database.read() as tx:
            asked = tx.runs.stop_requested([ExperimentState.QUEUED, ExperimentState.BUILDING])
        if not asked:
            return False
        with self._database.transaction() as tx:
            for experiment in asked:
                reason = experiment.stop_requested or "stopped"
                tx.runs.move(experiment, ExperimentState.STOPPED, reason=reason, now_us=self._now_us())
        return True

    def admit(self) -> bool:
        """Give machines to what fits, and a reason to what waits."""
        with self._database.read() as tx:
            queued = tx.runs.experiments_in([ExperimentState.QUEUED])
        reason = self._waits() if queued else None
        if reason is not None:
            self._tell(queued, reason)
            return False
        with self._database.read() as tx:
            run_ids = {e.run_id for e in queued}
            clusters = {tx.runs.find_by_id(id).plan.cluster for id in run_ids}
        admitted = [self._admit_to(cluster) for cluster in sorted(clusters)]
        return any(admitted)

    def _tell(self, queued: Sequence[Experiment], reason: str) -> None:
        told = [experiment for experiment in queued if experiment.reason != reason]
        if told:
            with self._database.transaction() as tx:
                for experiment in told:
                    tx.runs.set_reason(experiment.id, reason)

    def _admit_to(self, cluster: str) -> bool:
        inventory = self._engines.of(cluster).inventory()  # asks the system: not inside a transaction
        with self._database.transaction() as tx:
            found = tx.runs.experiments_in([ExperimentState.QUEUED])
            runs = {id: tx.runs.find_by_id(id) for id in {e.run_id for e in found}}
            queued = {e.name: (e, runs[e.run_id]) for e in found if runs[e.run_id].plan.cluster == cluster}
            waiting = [_waiting(experiment, run, inventory) for experiment, run in queued.values()]
            holding = self._holding(tx, cluster)
            is_fleet = isinstance(inventory, Fleet)
            decisions = admit_to_fleet(waiting, holding, inventory) if is_fleet else admit(waiting, holding, inventory)
            admitted = False
            for decision in decisions:
                experiment, run = queued[decision.experiment]
                if isinstance(decision, Start):
                    self._create_attempt(tx, experiment, run, decision)
                    admitted = True
                elif experiment.reason != decision.reason:
                    tx.runs.set_reason(experiment.id, decision.reason)
        return admitted

    def _holding(self, tx: Transaction, cluster: str) -> list[Holding]:
        held: list[Holding] = []
        for attempt in tx.attempts.active(cluster=cluster):
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            plan = tx.runs.find_by_id(experiment.run_id).plan
            machines = tx.attempts.machines(attempt.id)
            held.append(
                Holding(
                    experiment=experiment.name,
                    created_us=experiment.created_us,
                    devices=frozenset(uuid for m in machines for node in m.devices for uuid in node),
                    ranks=cpu_ranks(plan),
                    is_starting=experiment.state is ExperimentState.PENDING,
                    run=experiment.run_id,
                    placed=Placed(
                        bundles=plan.bundles,
                        addresses=tuple(m.address for m in machines),
                    ),
                )
            )
        return held

    def _create_attempt(self, tx: Transaction, experiment: Experiment, run: Run, start: Start) -> None:
        now, number = self._now_us(), experiment.attempts + 1
        gang = run.plan.gang
        waits_for = f"waits for {gang.machines} agents" if gang.machines > 1 else "waits for its agent"
        tx.runs.move(experiment, ExperimentState.PENDING, reason=waits_for, now_us=now, attempt=number)
        attempt_id = f"{experiment.id}-{number}"
        attempt = Attempt(
            id=attempt_id,
            experiment_id=experiment.id,
            number=number,
            state=AttemptState.CREATED,
            version=1,
            generation=0,
            phase=GenerationPhase.PREPARING,
            store_address=None,
            store_port=None,
            outcome=None,
            reason="",
            token_hash=token_hash(attempt_token(self._secret, attempt_id)),
            token_expires_us=now + _TOKEN_LIFE_US,
            created_us=now,
            cluster=run.plan.cluster,
        )
        machines = [
            AttemptMachine(attempt_id=attempt_id, index=index, state=MachineState.WAITING, devices=start.devices[index])
            for index in range(gang.machines)
        ]
        tx.attempts.create(attempt, machines)


def _waiting(experiment: Experiment, run: Run, inventory: Inventory | Fleet) -> Waiting:
    visible = None
    if isinstance(inventory, Inventory):
        visible = frozenset(a.uuid for a in visible_accelerators(inventory, run.spec.shell))
    return Waiting(
        experiment=experiment.name,
        created_us=experiment.created_us,
        plan=run.plan,
        visible=visible,
        run=run.id,
        parallel=run.spec.parallel,
    )
