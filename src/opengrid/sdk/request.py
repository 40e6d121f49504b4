"""A request to start a run, read from what somebody asks for and from the folder in which they ask."""

from __future__ import annotations

import dataclasses
import difflib
import os
import stat
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path
from types import NoneType, UnionType
from typing import TypedDict, cast, get_args, get_origin, get_type_hints

from opengrid.client.home import find_home
from opengrid.client.program import Typed, find_program, find_python, shell_variables
from opengrid.client.request import program_of, source_of
from opengrid.client.tree import Tree, read_text, read_tree
from opengrid.core.errors import InvalidValue
from opengrid.core.sizes import parse_size
from opengrid.core.spec import (
    MOMENTS,
    Actions,
    Dependencies,
    Program,
    ProgramKind,
    RunSpec,
    Source,
    parse_framework,
    parse_strategy,
)
from opengrid.planning.link import is_link, parse_link
from opengrid.sdk.ignoring import ignored_in


class RunOptions(TypedDict, total=False):
    """Everything that a run can be given beside its script; what is left out has the default of `grid run`."""

    name: str | None  #: of the run; one is made up without
    description: str  #: a note for yourself
    cluster: str | None  #: whose machines; your default cluster's without, else the server's computer
    instance_type: str  #: of the machines; this computer without
    gpus: int | None  #: of one experiment; all of one machine without
    cpus: int | None  #: of one node; 2 per GPU without
    framework: str  #: lightning, torch, torchelastic, tensorflow or julia
    processes_per_node: int | None  #: ranks per node; one per GPU without
    simulate: bool  #: CPU ranks stand in for GPUs even where there are GPUs
    python: str | None  #: interpreter of the ranks; the active environment's without
    environment: Mapping[str, str]  #: variables for the script
    secrets: Sequence[str]  #: names of secrets, each a variable for the script
    dependency_file: str | None  #: which file of the tree names its packages, or "none"; found by name without
    dependencies: Dependencies | None  #: packages that the tree needs; read from its files without
    actions: Actions  #: commands beside the script
    module: bool  #: the script is a module, `package.module`
    localdir: bool  #: run the current folder as it is, not the git repository
    committed: bool  #: run the last commit, without what changed since
    grace_s: float  #: between SIGTERM and SIGKILL when stopped
    strategy: str  #: grid_search, random_search or none
    num_trials: int | None  #: experiments that random_search draws
    seed: int | None  #: makes random_search and distributions reproducible
    max_experiments: int | None  #: most that the sweep may have
    parallel: int | None  #: experiments that run at once; as many as fit without
    fail_fast: bool  #: stop the rest when the first three experiments fail alike
    max_time_s: float | None  #: an experiment that has run so long is stopped
    max_restarts: int | None  #: starts of all ranks after the first
    use_spot: bool  #: machines of a cluster that a market may take away, for less
    auto_resume: bool  #: go on after a restart of the computer, too
    datastore_name: str | None  #: a datastore that the script finds at its mount directory
    datastore_version: int | None  #: its version; the newest without
    datastore_mount_dir: str | None  #: where the script finds it; /datastores/<name> without
    labels: Mapping[str, str]  #: to find the run by


def check_options(options: Mapping[str, object]) -> None:
    """Raise InvalidValue for an option that there is not, or a value of another kind than it has."""
    known = get_type_hints(RunOptions)
    for name, value in options.items():
        if name not in known:
            raise InvalidValue(f"there is no option {name}", hint=_nearest(name, known), field=name)
        kinds = _kinds(known[name])
        is_wrong_text = isinstance(value, str) and str not in kinds  # which is a sequence, too
        is_wrong_flag = isinstance(value, bool) and bool not in kinds
        if is_wrong_text or is_wrong_flag or not isinstance(value, kinds):
            wanted = " or ".join("None" if kind is NoneType else kind.__name__ for kind in kinds)
            raise InvalidValue(f"{name}={value!r}: {wanted} is expected", field=name)
        if not all(isinstance(text, str) for text in _texts(value)):
            raise InvalidValue(f"{name}={value!r}: all in it are texts", field=name)


def _nearest(name: str, known: Collection[str]) -> str:
    if name in MOMENTS:
        return f'actions=Actions({name}=("COMMAND",)), with `from opengrid import Actions`'
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(sorted(known))}"


def _texts(value: object) -> Iterable[object]:
    """Return what must be texts in an option that holds several."""
    if isinstance(value, Mapping):
        items = cast("Mapping[object, object]", value)
        return (*items, *items.values())
    return cast("Sequence[object]", value) if isinstance(value, Sequence) else ()


def _kinds(hint: object) -> tuple[type, ...]:
    """Return the types whose values an annotation takes; where it is a float, whole numbers too."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    kinds = tuple(cast("type", get_origin(part) or part) for part in parts)
    return (*kinds, int) if float in kinds else kinds


@dataclass(frozen=True, slots=True, kw_only=True)
class Shell:
    """Where somebody asks."""

    cwd: Path
    environment: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the server is asked for, and the tree that goes with it."""

    typed: Typed
    tree: Tree | None  #: None: the server fetches it
    spec: RunSpec
    notes: tuple[str, ...] = ()  #: what somebody should know


def read_request(
    script: str, arguments: Sequence[str], options: RunOptions, *, shell: Shell, command: str = ""
) -> Request:
    """Return the request for a script with its arguments; a UserError says what of it cannot be. Sends nothing.

    The script may be a link: to a file in a repository, or to a repository, when its first argument names the file.
    """
    wanted = options
    if is_link(script):
        typed, tree = _linked(script, tuple(arguments), options), None
        program, source = typed.program(shell.cwd), Source(bundle=None, root="", link=script)
    else:
        typed, tree = _found(script, tuple(arguments), options, shell)
        program, source = program_of(typed, tree), source_of(tree)
        needed = _dependencies(tree, options.get("dependency_file"))
        wanted = cast("RunOptions", {**options, "dependencies": needed})
    spec = make_spec(program, source, wanted, shell=shell, command=command)
    return Request(typed=typed, tree=tree, spec=spec, notes=tree.notes if tree is not None else ())


def make_spec(program: Program, source: Source, options: RunOptions, *, shell: Shell, command: str) -> RunSpec:
    """Return what the server is asked for; a UserError says which option cannot be."""
    return RunSpec(
        program=program,
        source=source,
        name=options.get("name"),
        description=options.get("description", ""),
        command=command,
        cluster=options.get("cluster"),
        instance_type=options.get("instance_type", "local"),
        gpus=options.get("gpus"),
        cpus=options.get("cpus"),
        framework=parse_framework(options.get("framework", "lightning")),
        processes_per_node=options.get("processes_per_node"),
        simulate=options.get("simulate", False),
        python=find_python(options.get("python"), shell.environment, shell.cwd),
        shell=shell_variables(shell.environment),
        environment=dict(options.get("environment", {})),
        grace_s=options.get("grace_s", 15.0),
        strategy=parse_strategy(options.get("strategy", "grid_search")),
        num_trials=options.get("num_trials"),
        seed=options.get("seed"),
        max_experiments=options.get("max_experiments"),
        parallel=options.get("parallel"),
        fail_fast=options.get("fail_fast", False),
        max_time_s=options.get("max_time_s"),
        max_restarts=options.get("max_restarts"),
        secrets=tuple(options.get("secrets", ())),
        dependencies=options.get("dependencies"),
        dependency_file=options.get("dependency_file"),
        actions=options.get("actions", Actions()),
        use_spot=options.get("use_spot", False),
        auto_resume=options.get("auto_resume", False),
        datastore_name=options.get("datastore_name"),
        datastore_version=options.get("datastore_version"),
        datastore_mount_dir=options.get("datastore_mount_dir"),
        labels=dict(options.get("labels", {})),
    )


def options_of(spec: RunSpec) -> RunOptions:
    """Return the options that a request was made with; of its tree, script and name there are none."""
    fields = {field.name: getattr(spec, field.name) for field in dataclasses.fields(spec) if field.name != "name"}
    given = {name: value.value if isinstance(value, Enum) else value for name, value in fields.items()}
    return cast("RunOptions", {name: given[name] for name in RunOptions.__annotations__ if name in given})


def _found(script: str, arguments: tuple[str, ...], options: RunOptions, shell: Shell) -> tuple[Typed, Tree]:
    """Return a program of this computer, and the tree that it lies in."""
    home = find_home(shell.environment)
    typed = find_program(
        script,
        arguments,
        cwd=shell.cwd,
        is_module=options.get("module", False),
        path=shell.environment.get("PATH", os.defpath),
    )
    tree = read_tree(
        shell.cwd,
        typed.file,
        localdir=options.get("localdir", False),
        committed=options.get("committed", False),
        exclude=(home.root, home.state),
        ignored=ignored_in,
        limit=parse_size(shell.environment.get("GRID_SOURCE_LIMIT") or "1GiB", name="GRID_SOURCE_LIMIT"),
    )
    return typed, tree


def _dependencies(tree: Tree, chosen: str | None) -> Dependencies | None:
    """Return what packages a tree says it needs."""
    # Readers that a tree without one need not load.
    from opengrid.planning.dependencies import FILES, find_dependencies
    from opengrid.planning.own_packages import TreeFiles

    paths = frozenset(file.path for file in tree.files if not stat.S_ISDIR(file.mode))
    if chosen is None and paths.isdisjoint(FILES):
        return None
    return find_dependencies(TreeFiles(paths, partial(read_text, tree)), chosen)


def _linked(script: str, arguments: tuple[str, ...], options: RunOptions) -> Typed:
    """Return the program that a link names; the server finds out where it leads."""
    link, is_module = parse_link(script), options.get("module", False)
    for name in ("localdir", "committed"):
        if options.get(name, False):
            raise InvalidValue(f"--{name} and a link exclude one another: a link names a commit's files", field=name)
    target = ""
    if is_module or not link.is_file:
        if not arguments:
            what = "module" if is_module else "script"
            raise InvalidValue(f"{script} names no {what}", hint=f"name it after the link: {script} {what}")
        target, arguments = arguments[0], arguments[1:]
    kind = ProgramKind.MODULE if is_module else ProgramKind.SCRIPT
    return Typed(kind=kind, target=target, arguments=arguments, file=None)
