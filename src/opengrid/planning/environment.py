"""What is built for a run before its experiments can start, and whether it is there. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import Enum

from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Run
from opengrid.core.spec import Dependencies, RunSpec
from opengrid.planning.checks import is_python


class EnvironmentState(str, Enum):
    """Where the packages of a run stand."""

    READY = "ready"  #: all that is needed is there
    BUILDING = "building"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The packages of a run, as far as they are there."""

    state: EnvironmentState
    overlay: str | None = None  #: folder with what the interpreter lacks; None: it lacks nothing
    reason: str = ""  #: what is built; why it failed
    log_tail: str = ""  #: end of the build's log, when it failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """All that decides what an environment holds."""

    python: str  #: "": none, or whatever a machine has
    requirements: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    before: tuple[str, ...] = ()  #: actions before the dependencies
    after: tuple[str, ...] = ()  #: actions after them
    editable: tuple[str, ...] = ()  #: folders among the requirements that are not installed themselves
    bundle: str | None = None  #: the tree, for actions and for packages that lie in it
    directory: str = "."

    @property
    def actions(self) -> tuple[str, ...]:
        """Return all actions of the build."""
        return (*self.before, *self.after)

    @property
    def title(self) -> str:
        """What is made, in a few words."""
        count = sum(not line.startswith("-") for line in self.requirements)
        actions = len(self.actions)
        parts = [f"{count} requirement{'s' if count != 1 else ''}"] if count else []
        return " and ".join([*parts, *([f"{actions} action{'s' if actions != 1 else ''}"] if actions else [])])

    def key(self, interpreter: str) -> str:
        """Return the name of what comes of it with an interpreter in this state: the same for the same content."""
        content = json.dumps([asdict(self), interpreter], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def packages_of(spec: RunSpec) -> Dependencies | None:
    """Return what names the packages of a run's ranks; None when nothing does, or when they are no Python."""
    needed = spec.dependencies
    return needed if needed is not None and needed.count > 0 and is_python(spec) else None


def recipe_of_run(run: Run) -> Recipe | None:
    """Return what is made on this computer for a run; None for one on a cluster, whose machines do it themselves."""
    return recipe_of(run.spec, run.plan.python) if run.plan.cluster == LOCAL_CLUSTER else None


def recipe_of(spec: RunSpec, python: str | None) -> Recipe | None:
    """Return what must be made for a run whose ranks have this interpreter; None when there is nothing to make.

    "" stands for the interpreter of each machine of a cluster.
    """
    before, after = spec.actions.before_dependencies, spec.actions.on_build_end
    packages = packages_of(spec) if python is not None else None
    if packages is None and not before and not after:
        return None
    has_actions = bool(before or after)
    sees_tree = has_actions or (packages is not None and packages.need_the_tree)
    return Recipe(
        python=python or "",
        requirements=packages.requirements if packages is not None else (),
        constraints=packages.constraints if packages is not None else (),
        editable=packages.editable if packages is not None else (),
        before=before,
        after=after,
        bundle=spec.source.bundle if sees_tree else None,
        directory=spec.source.directory if has_actions else ".",
    )
