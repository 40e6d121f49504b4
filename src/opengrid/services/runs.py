"""Runs: planned, created, listed, stopped, deleted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import shutil
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

from opengrid.core.errors import Conflict, Forbidden, InvalidValue
from opengrid.core.gang import Plan
from opengrid.core.mounts import Mount, seen_elsewhere
from opengrid.core.names import experiment_name, named, split_experiment_name
from opengrid.core.records.attempts import Attempt
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.records.removals import RunRemoval
from opengrid.core.spec import ProgramKind, RunSpec
from opengrid.engines.engine import Engine, Engines
from opengrid.planning.arguments import parameters
from opengrid.planning.catalogue import Catalogue
from opengrid.planning.command import without_values
from opengrid.planning.fleet import Fleet
from opengrid.planning.fleet_plan import plan_on_fleet
from opengrid.planning.plan import make_plan
from opengrid.planning.preload import preload_modules
from opengrid.planning.sweep import make_sweep, with_seed
from opengrid.services.artifacts import Artifacts
from opengrid.services.callers import Caller
from opengrid.services.differences import Differences
from opengrid.services.event_files import EventFiles
from opengrid.services.links import Links
from opengrid.services.log_files import LogFiles
from opengrid.services.removals import carry_out_all
from opengrid.services.run_data import RunData
from opengrid.services.sources import Sources
from opengrid.store.database import Database, Transaction
from opengrid.store.run_list import RunFilter

#: More users or labels than these nobody chooses from a list.
_OFFERED = 200


class Runs:
    """Use cases around runs and experiments. `changed` wakes the controller; `kill` has it end an attempt by force."""

    def __init__(
        self,
        database: Database,
        engines: Engines,
        catalogue: Catalogue,
        *,
        sources: Sources,
        differences: Differences,
        links: Links,
        data: RunData,
        logs: LogFiles,
        artifacts: Artifacts,
        events: EventFiles,
        work: Path,
        check_secrets: Callable[[str, Sequence[str]], None],
        changed: Callable[[], None],
        kill: Callable[[str], None],
        now_us: Callable[[], int],
    ) -> None:
        self._database, self._engines, self._catalogue = database, engines, catalogue
        self._sources, self._links, self._data, self._logs, self._work = sources, links, data, logs, work
        self._differences = differences
        self._artifacts, self._events, self._now_us = artifacts, events, now_us
        self._check_secrets, self._changed, self._kill = check_secrets, changed, kill

    def plan(self, spec: RunSpec, user: str) -> Plan:
        """Return what a request would start, or raise with the nearest thing that can. Starts nothing."""
        self._check_secrets(user, spec.secrets)
        spec = self._links.completed(spec, user)
        if spec.name is not None:
            with self._database.read() as tx:
                _check_free(tx, spec.name)
        points = self._points(spec)
        return self._plan(spec, points, user)

    def create(self, spec: RunSpec, user: str) -> tuple[Run, list[Experiment]]:
        """Store a run and its experiments, queued; all of them or nothing."""
        self._check_secrets(user, spec.secrets)
        spec = self._links.completed(spec, user)
        if spec.source.bundle is None:
            raise InvalidValue("a run needs the bundle of its source tree", field="source.bundle")
        spec = with_seed(spec, random.SystemRandom().randrange(2**32))
        spec = dataclasses.replace(spec, command=without_values(spec))
        points = self._points(spec)
        text = self._sources.program_text(spec.program, spec.source)
        preload = preload_modules(text) if spec.framework.is_torch else ()
        plan = dataclasses.replace(self._plan(spec, points, user), preload=preload)
        now = self._now_us()
        with self._database.transaction() as tx:
            name = spec.name or free_name(tx)
            run = Run(id=uuid.uuid4().hex[:16], name=name, user=user, spec=spec, plan=plan, created_us=now)
            experiments = [_queued(run, index, *point) for index, point in enumerate(points)]
            tx.runs.create(run, experiments, now)
            tx.data.use(run.id, [(mount.name, mount.version) for mount in plan.mounts])
        self._changed()
        return run, experiments

    def _points(self, spec: RunSpec) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
        """Return each experiment's arguments: as typed, and with references to datastores resolved."""
        typed = list(make_sweep(spec).expand())
        width = len(spec.program.arguments)
        # All at once: a sweep of a thousand asks the store for its datastores once.
        words = self._data.resolve([word for point in typed for word in point])
        return [(point, words[i * width : (i + 1) * width]) for i, point in enumerate(typed)]

    def _engine(self, spec: RunSpec, user: str) -> Engine:
        """Return the engine of the cluster that a request goes to: the one it names, else the user's own default."""
        if spec.cluster is not None:
            return self._engines.of(spec.cluster)
        with self._database.read() as tx:
            return self._engines.of(tx.clusters.default(user) or LOCAL_CLUSTER)

    def _plan(self, spec: RunSpec, points: Sequence[tuple[tuple[str, ...], tuple[str, ...]]], user: str) -> Plan:
        engine, interpreter = self._engine(spec, user), None
        if spec.program.kind is not ProgramKind.EXECUTABLE:
            if spec.python is None:
                raise InvalidValue("a Python program needs an interpreter", field="python")
            interpreter = engine.interpreter(spec.python, spec.shell)
        inventory = engine.inventory()
        if isinstance(inventory, Fleet):
            plan = plan_on_fleet(spec, catalogue=self._catalogue, fleet=inventory, interpreter=interpreter)
        else:
            plan = make_plan(spec, catalogue=self._catalogue, inventory=inventory, interpreter=interpreter)
        mounts = self._mounts(plan.cluster, [word for typed, _ in points for word in typed], spec)
        return dataclasses.replace(plan, experiments=len(points), mounts=mounts)

    def _mounts(self, cluster: str, words: Sequence[str], spec: RunSpec) -> tuple[Mount, ...]:
        """Return the datastore versions that a run mounts, as the machines of its cluster see them."""
        mounts = self._data.mounts(words, spec)
        with self._database.read() as tx:
            elsewhere = tx.clusters.look(cluster)
        return mounts if elsewhere is None else tuple(seen_elsewhere(mount, elsewhere.work_dir) for mount in mounts)

    def list(self, chosen: RunFilter, *, sort: str, limit: int, offset: int) -> tuple[list[Run], int, int]:
        """Return a page of runs; how many there are of that kind; and how many of them are not active."""
        with self._database.read() as tx:
            page = tx.runs.list(chosen, sort=sort, limit=limit, offset=offset)
            return page, tx.runs.count(chosen), tx.runs.count(dataclasses.replace(chosen, active=False))

    def filters(self) -> tuple[list[str], list[tuple[str, str]]]:
        """Return the users and the labels that runs can be chosen by, the most common ones."""
        with self._database.read() as tx:
            return tx.runs.users(_OFFERED), tx.runs.labels(_OFFERED)

    def show(self, name: str) -> tuple[Run, list[Experiment]]:
        """Return a run and its experiments."""
        with self._database.read() as tx:
            run = tx.runs.find(name)
            return run, tx.runs.experiments(run.id)

    def summary(self, name: str) -> tuple[Run, int | None, int | None, int]:
        """Return a run without its experiments, when the first began to run and the last ended, and their machine time.

        That is in microseconds, of all experiments together.
        """
        with self._database.read() as tx:
            run = tx.runs.find(name)
            return run, *tx.runs.span(run.id), tx.runs.held_us(run.id, self._now_us())

    def request(self, name: str, caller: Caller, *, with_tree: bool = False) -> tuple[RunSpec, tuple[str, ...]]:
        """Return what a run was asked for with, to be asked for again, and which variables are held back.

        What the shell and `--env` said may be secret: only the owner and the admin get it. So is a tree with
        credentials in it: for others there is none in the request, and Forbidden `with_tree`.
        """
        with self._database.read() as tx:
            run = tx.runs.find(name)
        if caller.may_change(run.user):
            return run.spec, ()
        source, held_back = run.spec.source, tuple(sorted(run.spec.environment))
        if private := self._differences.private_files(run):
            if with_tree:
                raise Forbidden(
                    f"the code of {name} has credentials in it ({named(private)}): only {run.user} can start it again",
                    hint=f"`grid run --like {name}` takes its options, and your own code",
                )
            source = dataclasses.replace(source, bundle=None, patch=None)
        return dataclasses.replace(run.spec, source=source, environment={}, shell={}), held_back

    def stop(self, names: Sequence[str], caller: Caller, *, force: bool = False) -> tuple[list[str], list[str]]:
        """Ask what is named to stop; return the experiments that were asked and those that had ended before.

        With `force`, their machines' agents are killed at once: what they had not sent yet is lost.
        """
        stopped: list[str] = []
        already: list[str] = []
        attempts: list[Attempt] = []
        with self._database.transaction(frees_space=True) as tx:
            for experiment in self._experiments(tx, names, caller):
                asked = not experiment.state.is_terminal
                if asked:
                    tx.runs.request_stop(experiment.id, f"stopped by {caller.name}", self._now_us())
                    attempts += tx.attempts.of_experiment(experiment.id)[-1:]
                (stopped if asked else already).append(experiment.name)
        for attempt in attempts if force else ():
            if not attempt.state.is_terminal:
                self._kill(attempt.id)
        self._changed()
        return stopped, already

    def resume(self, names: Sequence[str], caller: Caller, *, only_failed: bool) -> tuple[list[str], list[str]]:
        """Queue again what is named and has failed or was stopped; return those, and the others that are named.

        They go on from their newest checkpoint. Conflict, touching nothing, for a single experiment that cannot.
        """
        resumable = [ExperimentState.FAILED] if only_failed else [ExperimentState.FAILED, ExperimentState.STOPPED]
        reason = f"resumed by {caller.name}"
        resumed: list[str] = []
        left: list[str] = []
        with self._database.transaction() as tx:
            for experiment in self._experiments(tx, names, caller):
                can = experiment.state in resumable
                if can:
                    tx.runs.move(experiment, ExperimentState.QUEUED, reason=reason, now_us=self._now_us())
                elif experiment.name in names:
                    raise Conflict(
                        f"{experiment.name} is {experiment.state.value}",
                        hint="what has failed or was stopped can be resumed",
                    )
                (resumed if can else left).append(experiment.name)
        self._changed()
        return resumed, left

    def delete(self, names: Sequence[str], caller: Caller) -> list[str]:
        """Remove what is named with logs and work folders; Conflict, touching nothing, while some of it is active."""
        with self._database.transaction(frees_space=True) as tx:
            experiments = self._experiments(tx, names, caller)
            busy = [e.name for e in experiments if not e.state.is_terminal]
            if busy:
                raise Conflict(
                    f"{', '.join(busy)} has not ended", hint=f"`grid stop experiment {' '.join(busy)}` first"
                )
            attempts = [a.id for e in experiments for a in tx.attempts.of_experiment(e.id)]
            removal = RunRemoval(
                id=uuid.uuid4().hex,
                contents=tuple(tx.artifacts.digests([e.id for e in experiments])),
                attempts=tuple(attempts),
                experiments=tuple((e.id, e.name) for e in experiments),
            )
            tx.removals.add(removal)
            for experiment in experiments:
                tx.runs.delete_experiment(experiment.id)
            for name in names:
                if split_experiment_name(name) is None:
                    tx.runs.delete_run(tx.runs.find(name).id)
        self._carry_out(removal)
        return [e.name for e in experiments]

    def finish_removals(self) -> None:
        """Remove what servers before this one had deleted and not removed."""
        carry_out_all(self._database, RunRemoval, self._carry_out)

    def _carry_out(self, removal: RunRemoval) -> None:
        for attempt in removal.attempts:
            self._logs.delete(attempt)
            self._artifacts.forget(attempt)
        self._events.delete([id for id, _ in removal.experiments])
        for id, name in removal.experiments:
            self._remove_work(id, name)
        self._artifacts.remove_contents(removal)

    def _remove_work(self, id: str, name: str) -> None:
        """Remove the work folders of an experiment that is gone; those of a new one with its name stay."""
        folder, aside = self._work / name, self._work / f".{id}"
        if folder.exists():
            with self._database.transaction() as tx, contextlib.suppress(OSError):
                if not tx.runs.has_experiment(name):
                    os.rename(folder, aside)
        shutil.rmtree(aside, ignore_errors=True)

    def _experiments(self, tx: Transaction, names: Sequence[str], caller: Caller) -> list[Experiment]:
        """Return the experiments that are named; Forbidden when one is not the caller's to change."""
        found: dict[str, Experiment] = {}
        for name in names:
            if split_experiment_name(name) is not None:
                experiments = [tx.runs.experiment(name)]
                run = tx.runs.find_by_id(experiments[0].run_id)
            else:
                run = tx.runs.find(name)
                experiments = tx.runs.experiments(run.id)
            caller.check(run.user, name)
            found.update({e.id: e for e in experiments})
        return list(found.values())


def _queued(run: Run, index: int, typed: Sequence[str], arguments: Sequence[str]) -> Experiment:
    return Experiment(
        id=f"{run.id}e{index}",
        run_id=run.id,
        index=index,
        name=experiment_name(run.name, index),
        arguments=tuple(arguments),
        typed=tuple(typed),
        params=parameters(typed),
        state=ExperimentState.QUEUED,
        version=0,
        reason="",
        exit_code=None,
        root_cause=None,
        stop_requested=None,
        created_us=run.created_us,
        started_us=None,
        ended_us=None,
    )


def _check_free(tx: Transaction, name: str) -> None:
    if tx.runs.taken(name):
        raise Conflict(
            f"there is already a run named {name}", hint="choose another --name, or `grid delete run` the old one"
        )


def free_name(tx: Transaction) -> str:
    """Return a made-up name that no run has."""
    import coolname  # its words take 0.02 s, of which the start of a server is free

    while True:
        name = f"{coolname.generate_slug(2)}-{random.randint(1, 9999)}"  # noqa: S311 - a name, no secret
        if not tx.runs.taken(name):
            return name
