"""What an agent is told in answer to its hello: all that one machine of an attempt needs to know."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from opengrid.blobs.blobs import Blobs
from opengrid.core.errors import InvalidValue
from opengrid.core.gang import Plan
from opengrid.core.mounts import Mount
from opengrid.core.protocol import Assignment, Hello, Packages
from opengrid.core.records.attempts import Attempt, AttemptMachine, AttemptState
from opengrid.core.records.clusters import Cluster
from opengrid.core.records.experiments import Experiment, Run
from opengrid.core.spec import RunSpec
from opengrid.planning.environment import recipe_of
from opengrid.planning.recovery import DEFAULT_RESTARTS


class Assignments:
    """Makes assignments. `overlay` tells the folder of a run's environment, `secrets_of` the values of its secrets.

    `data_cache` is where agents of this computer keep what they have to fetch for their mounts.
    """

    def __init__(
        self,
        blobs: Blobs,
        *,
        work: Path,
        staging: Callable[[str, int], Path] | None = None,
        check_mounts: Callable[[Sequence[Mount], str], None] = lambda mounts, attempt_id: None,
        overlay: Callable[[Run], str | None] = lambda _: None,
        secrets_of: Callable[[Run], Mapping[str, str]] = lambda _: {},
        has_links: bool = False,
        data_cache: Path | None = None,
        data_cache_bytes: int = 50 << 30,
        least_free: int = 0,
    ) -> None:
        self._blobs, self._work, self._staging = blobs, work, staging
        self._check_mounts, self._overlay, self._secrets_of = check_mounts, overlay, secrets_of
        self._has_links, self._data_cache, self._data_cache_bytes = has_links, data_cache, data_cache_bytes
        self._least_free = least_free

    def check(self, run: Run, attempt: Attempt) -> None:
        """See that a run's datastores can be mounted, and repair what can be; raises what is wrong with them."""
        self._check_mounts(run.plan.mounts, attempt.id)

    def make(
        self,
        run: Run,
        experiment: Experiment,
        attempt: Attempt,
        machine: AttemptMachine,
        *,
        earlier: Sequence[Attempt],
        cluster: Cluster | None,
    ) -> Assignment:
        """Return a machine's assignment; `cluster` is None for this computer, `earlier` are the attempts before.

        Raises what is wrong with the run's secrets or environment.
        """
        was_lost = bool(earlier) and earlier[-1].state is AttemptState.LOST
        salvage = str(work_folder(self._work, experiment, earlier[-1].number)) if was_lost else None
        assignment = self._here(run, experiment, attempt, machine, salvage)
        return assignment if cluster is None else _elsewhere(assignment, cluster, _packages(run.spec, cluster))

    def _here(
        self, run: Run, experiment: Experiment, attempt: Attempt, machine: AttemptMachine, salvage: str | None
    ) -> Assignment:
        spec, plan, secrets = run.spec, run.plan, self._secrets_of(run)
        program = spec.program
        if spec.source.bundle is None:
            raise InvalidValue(f"run {run.name} has no bundle")
        return Assignment(
            experiment_id=experiment.id,
            experiment=experiment.name,
            run=run.name,
            attempt=attempt.number,
            machine=machine.index,
            user=run.user,
            cluster=plan.cluster,
            instance_type=plan.instance_type,
            simulated=plan.simulated,
            framework=spec.framework,
            program=type(program)(kind=program.kind, target=program.target, arguments=experiment.arguments),
            python=plan.python,
            gang=plan.gang,
            devices=machine.devices,
            counted=plan.counted is True,
            environment={**spec.shell, **spec.environment, **secrets},
            user_set=(*spec.environment, *secrets),
            masked=tuple(secrets.values()),
            bundle=spec.source.bundle,
            bundle_path=str(self._blobs.path(spec.source.bundle)),
            directory=spec.source.directory,
            work_dir=str(work_folder(self._work, experiment, attempt.number)),
            salvage=salvage,
            preload=plan.preload,
            now_ns=time.time_ns(),
            max_restarts=DEFAULT_RESTARTS if spec.max_restarts is None else spec.max_restarts,
            mounts=plan.mounts,
            data_cache=None if self._data_cache is None else str(self._data_cache),
            data_cache_bytes=self._data_cache_bytes,
            least_free=self._least_free,
            collects=self._staging is not None,
            overlay=self._overlay(run),
            folders=spec.dependencies.folders if spec.dependencies is not None else (),
            on_start=spec.actions.on_experiment_start,
            on_end=spec.actions.on_experiment_end,
            staging=str(self._staging(attempt.id, machine.index)) if self._staging is not None else None,
            has_links=self._has_links,
        )


def _elsewhere(assignment: Assignment, cluster: Cluster, packages: Packages | None) -> Assignment:
    """Return the assignment for another computer, on which nothing of this one is."""
    return dataclasses.replace(
        assignment,
        # What the user's shell had is the machine's own there.
        environment={name: assignment.environment[name] for name in assignment.user_set},
        bundle_path=None,
        work_dir=str(Path(cluster.work_dir, assignment.experiment, str(assignment.attempt))),
        salvage=None,
        staging=None,
        overlay=None,
        packages=packages,
        data_cache=str(Path(cluster.work_dir, "data", ".contents")),
    )


def _packages(spec: RunSpec, cluster: Cluster) -> Packages | None:
    recipe = recipe_of(spec, "")
    if recipe is None:
        return None
    return Packages(
        file=spec.dependencies.file if spec.dependencies is not None else "",
        requirements=recipe.requirements,
        constraints=recipe.constraints,
        editable=recipe.editable,
        before=recipe.before,
        after=recipe.after,
        directory=recipe.directory,
        needs_the_tree=recipe.bundle is not None,
        folder=str(Path(cluster.work_dir, "packages")),
    )


def plan_as_found(plan: Plan, machine: int, hello: Hello) -> Plan:
    """Return the plan with what a machine tells of the GPUs that its engine gave it: they are there, or only counted.

    InvalidValue when other machines of the run told otherwise: a gang half of which is on CPUs is nobody's wish.
    """
    if plan.simulated or not hello.devices or plan.counted is hello.is_bare:
        return plan
    if plan.counted is None:
        return dataclasses.replace(plan, counted=hello.is_bare, devices="" if hello.is_bare else plan.devices)
    here, there = ("none", "theirs") if hello.is_bare else ("them", "none")
    number = len(hello.devices)
    raise InvalidValue(
        f"{hello.hostname} counts {number} GPUs and has {here}, while other machines of the run have {there}",
        hint=f"does the cluster count the GPUs of machine {machine} ({hello.address}) right?",
    )


def given_devices(run: Run, machine: AttemptMachine, hello: Hello) -> dict[str, object]:
    """Return, as changes of a machine, the GPUs that the engine gave it; nothing where the server chose them."""
    nodes = run.plan.gang.nodes_of(machine.index)
    if run.plan.simulated or any(machine.devices) or not nodes[0].gpus:
        return {}
    wanted = sum(node.gpus for node in nodes)
    if len(hello.devices) < wanted:
        raise InvalidValue(f"machine {machine.index} was given {len(hello.devices)} GPUs of {wanted}")
    dealt = iter(hello.devices)
    return {"devices": tuple(tuple(itertools.islice(dealt, node.gpus)) for node in nodes)}


def work_folder(work: Path, experiment: Experiment, attempt: int) -> Path:
    """Return the folder in which an attempt works, the same absolute path on every machine of its gang."""
    return work / experiment.name / str(attempt)
