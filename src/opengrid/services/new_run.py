"""The page's New run dialog: its fields become a request, and what that would start is told while they are typed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from opengrid.core.errors import InvalidValue, UserError
from opengrid.core.records.experiments import Experiment, Run
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source, parse_framework, parse_strategy
from opengrid.planning.command import command_line, script_words
from opengrid.planning.link import EXAMPLE
from opengrid.planning.sentences import plan_sentence
from opengrid.services.callers import Caller
from opengrid.services.documents.errors import error_text
from opengrid.services.documents.new_run import NewRunPlanDocument
from opengrid.services.links import Links
from opengrid.services.runs import Runs, free_name
from opengrid.services.views import place_view, plan_view
from opengrid.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What the dialog's fields say, as they were typed."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    link: str | None = None  #: to a file, folder, branch, commit or repository on any git host
    script: str = ""  #: path relative to what the link names; "" for the file that it names
    copy_of: str | None = None  #: a run whose tree and program are taken instead of a link's
    name: str | None = None  #: None: the one that is suggested
    description: str = ""
    arguments: str = ""  #: the script's, as in a shell
    strategy: str = "grid_search"
    num_trials: int | None = None
    seed: int | None = None
    framework: str = "lightning"
    cluster: str | None = None  #: None: the user's default
    instance_type: str = "local"
    gpus: int | None = None
    cpus: int | None = None
    processes_per_node: int | None = None
    simulate: bool = False
    environment: dict[str, str] = field(default_factory=dict[str, str])
    use_spot: bool = False
    auto_resume: bool = False
    datastore: str | None = None  #: `name:version`
    datastore_mount_dir: str | None = None
    labels: dict[str, str] = field(default_factory=dict[str, str])
    python: str | None = None
    parallel: int | None = None
    max_restarts: int | None = None


class NewRuns:
    """Use cases behind the dialog."""

    def __init__(self, database: Database, runs: Runs, links: Links) -> None:
        self._database, self._runs, self._links = database, runs, links
        self._names: dict[str, str] = {}  #: what was last suggested, by user: the same until it is taken

    def plan(self, form: NewRun, caller: Caller) -> NewRunPlanDocument:
        """Return what the form would start, or why it cannot; where its link leads, even when it cannot."""
        answer = NewRunPlanDocument(
            plan=None,
            sentence="",
            problem=None,
            command="",
            name=form.name or self._suggested(caller.name),
            link=None,
        )
        try:
            spec = self._spec(form, caller)
            answer = dataclasses.replace(answer, command=_command(spec))
            spec = self._links.completed(spec, caller.name)
            answer = dataclasses.replace(answer, link=place_view(spec.source.place))
            plan = self._runs.plan(spec, caller.name)
        except UserError as error:
            if error.field == "script" and form.link and answer.command:
                # The link itself is good: its parts can be edited, and a script be named among them.
                answer = dataclasses.replace(answer, link=place_view(self._links.place(form.link, caller.name)))
            return dataclasses.replace(answer, problem=error_text(error))
        return dataclasses.replace(answer, plan=plan_view(plan), sentence=plan_sentence(plan))

    def create(self, form: NewRun, caller: Caller) -> tuple[Run, list[Experiment]]:
        """Start what the form says."""
        spec = self._spec(form, caller)
        spec = dataclasses.replace(spec, name=spec.name or self._suggested(caller.name), command=_command(spec))
        return self._runs.create(spec, caller.name)

    def clone(self, names: Sequence[str], caller: Caller) -> list[tuple[str, Run, list[Experiment]]]:
        """Start runs again as they are, under new names; return each with the one that it is like."""
        specs = [(name, self._runs.request(name, caller, with_tree=True)[0]) for name in dict.fromkeys(names)]
        return [(name, *self._runs.create(dataclasses.replace(spec, name=None), caller.name)) for name, spec in specs]

    def form_of(self, name: str, caller: Caller) -> NewRun:
        """Return the form filled in as a run was made: for a link, at the commit that it led to then."""
        spec, _ = self._runs.request(name, caller)
        is_linked = spec.source.link is not None
        return NewRun(
            link=script_words(spec)[0] if is_linked else None,
            script="" if is_linked and spec.program.kind is not ProgramKind.MODULE else spec.program.target,
            copy_of=None if is_linked else name,
            description=spec.description,
            arguments=shlex.join(spec.program.arguments),
            strategy=spec.strategy.value,
            num_trials=spec.num_trials,
            seed=spec.seed,
            framework=spec.framework.value,
            cluster=spec.cluster,
            instance_type=spec.instance_type,
            gpus=spec.gpus,
            cpus=spec.cpus,
            processes_per_node=spec.processes_per_node,
            simulate=spec.simulate,
            environment=spec.environment,
            use_spot=spec.use_spot,
            auto_resume=spec.auto_resume,
            datastore=_reference(spec),
            datastore_mount_dir=spec.datastore_mount_dir,
            labels=spec.labels,
            python=spec.python,
            parallel=spec.parallel,
            max_restarts=spec.max_restarts,
        )

    def _spec(self, form: NewRun, caller: Caller) -> RunSpec:
        """Return the form as a request; InvalidValue names the field that makes none."""
        datastore, version = _datastore(form.datastore)
        base = self._base(form, caller)
        return dataclasses.replace(
            base,
            program=dataclasses.replace(base.program, arguments=_words(form.arguments)),
            name=form.name,
            description=form.description,
            strategy=parse_strategy(form.strategy),
            num_trials=form.num_trials,
            seed=form.seed,
            framework=parse_framework(form.framework),
            cluster=form.cluster,
            instance_type=form.instance_type,
            gpus=form.gpus,
            cpus=form.cpus,
            processes_per_node=form.processes_per_node,
            simulate=form.simulate,
            environment=form.environment,
            use_spot=form.use_spot,
            auto_resume=form.auto_resume,
            datastore_name=datastore,
            datastore_version=version,
            datastore_mount_dir=form.datastore_mount_dir if datastore is not None else None,
            labels=form.labels,
            python=form.python or base.python,
            parallel=form.parallel,
            max_restarts=form.max_restarts,
        )

    def _base(self, form: NewRun, caller: Caller) -> RunSpec:
        """Return the tree and program that the form names, as a request."""
        if form.copy_of is not None:
            return self._runs.request(form.copy_of, caller, with_tree=True)[0]
        if not form.link or not form.link.strip():
            raise InvalidValue("paste a link to the script first", hint=EXAMPLE, field="link")
        return RunSpec(
            program=Program(kind=ProgramKind.SCRIPT, target=form.script.strip()),
            source=Source(bundle=None, root="", link=form.link.strip()),
        )

    def _suggested(self, user: str) -> str:
        with self._database.read() as tx:
            name = self._names.get(user)
            if name is None or tx.runs.taken(name):
                name = self._names[user] = free_name(tx)
        return name


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise InvalidValue(
            f"the script's arguments cannot be split: {str(error).lower()}",
            hint="they are read as in a shell: close every quote",
            field="arguments",
        ) from None


def _command(spec: RunSpec) -> str:
    words = command_line(spec)
    name = ("--name", spec.name) if spec.name is not None else ()
    return shlex.join(["grid", words[0], *name, *words[1:]])


def _datastore(text: str | None) -> tuple[str | None, int | None]:
    """Return name and version of `name:version`; without a version the newest is meant."""
    name, _, version = (text or "").partition(":")
    if version and not version.isdecimal():
        raise InvalidValue(f"{text!r} is no version of a datastore", hint="such as stl10:1", field="datastore")
    return name or None, int(version) if version else None


def _reference(spec: RunSpec) -> str | None:
    if spec.datastore_name is None or spec.datastore_version is None:
        return spec.datastore_name
    return f"{spec.datastore_name}:{spec.datastore_version}"
