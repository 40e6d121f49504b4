"""What a user asks for: the request behind `grid run`, `POST /plan` and `POST /runs`."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import Enum
from typing import ClassVar

from opengrid.core.errors import InvalidValue
from opengrid.core.mounts import check_mount_path
from opengrid.core.names import check_label, check_name, check_run_name, check_secret_name
from opengrid.core.sizes import size_text


class Framework(str, Enum):
    """How the program expects to be started."""

    LIGHTNING = "lightning"  #: torch ranks, plus Lightning's defaults
    TORCH = "torch"  #: torch ranks
    TORCHELASTIC = "torchelastic"  #: torch ranks, written for torchrun
    TENSORFLOW = "tensorflow"  #: one node, one process
    JULIA = "julia"  #: one node, one process

    @property
    def is_torch(self) -> bool:
        """Whether ranks meet through torch.distributed."""
        return self in (Framework.LIGHTNING, Framework.TORCH, Framework.TORCHELASTIC)


def parse_framework(text: str) -> Framework:
    """Return the framework that a user named; `pytorch` is `torch`, `julia:x.y.z` is `julia`."""
    name = text.strip().lower()
    name = {"pytorch": "torch"}.get(name, name.split(":")[0] if name.startswith("julia:") else name)
    try:
        return Framework(name)
    except ValueError:
        known = "lightning, torch, pytorch, torchelastic, tensorflow, julia"
        raise InvalidValue(f"unknown framework {text!r}", hint=f"one of: {known}", field="framework") from None


class Strategy(str, Enum):
    """What becomes of the expressions among a script's arguments."""

    GRID_SEARCH = "grid_search"  #: all points
    RANDOM_SEARCH = "random_search"  #: some of them
    NONE = "none"  #: nothing: they are values


def parse_strategy(text: str) -> Strategy:
    """Return the strategy that a user named; dashes work for underscores."""
    try:
        return Strategy(text.strip().lower().replace("-", "_"))
    except ValueError:
        known = ", ".join(strategy.value for strategy in Strategy)
        raise InvalidValue(f"unknown strategy {text!r}", hint=f"one of: {known}", field="strategy") from None


class ProgramKind(str, Enum):
    """What the word after the options of `grid run` is."""

    SCRIPT = "script"  #: a Python file
    MODULE = "module"  #: a Python module (`-m pkg.mod`)
    EXECUTABLE = "executable"  #: anything else that the system can execute, shell scripts included


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What every rank runs."""

    kind: ProgramKind
    target: str  #: script or executable as typed (relative to the working directory), or a module name
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """Packages that a tree says it needs."""

    file: str  #: that says so, relative to the tree's root
    requirements: tuple[str, ...] = ()  #: lines as in requirements.txt, options among them, nested files unfolded
    constraints: tuple[str, ...] = ()  #: the same, for what only restricts versions
    python: str | None = None  #: versions of Python that will do, as `==3.10.*` or `>=3.9,<3.13`
    editable: tuple[str, ...] = ()  #: folders among the requirements of which only the requirements are installed
    folders: tuple[str, ...] = ()  #: of the tree, from which ranks import before all else: where editable packages lie

    @property
    def count(self) -> int:
        """Number of packages, options not counted."""
        return sum(not line.startswith("-") for line in self.requirements)

    @property
    def need_the_tree(self) -> bool:
        """Whether some of them lie in the tree itself."""
        return any(line.startswith("./") for line in self.requirements)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actions:
    """Bash commands beside the program, one each; run as the user, once per node."""

    on_build: tuple[str, ...] = ()  #: before the dependencies; one that fails, fails the build
    on_build_start: tuple[str, ...] = ()  #: the same
    on_build_end: tuple[str, ...] = ()  #: after the dependencies
    on_experiment_start: tuple[str, ...] = ()  #: in the work folder, before the first ranks; one that fails, fails it
    on_experiment_end: tuple[str, ...] = ()  #: in the work folder, after the last ranks, however they ended

    @property
    def before_dependencies(self) -> tuple[str, ...]:
        """All that a build begins with."""
        return (*self.on_build, *self.on_build_start)


#: When actions run: the fields of Actions, the options of `grid run` and the keys of a config file.
MOMENTS = tuple(field.name for field in fields(Actions))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a link led: what the dialog shows and lets people edit."""

    url: str  #: of the repository
    ref: str  #: branch, tag or commit
    commit: str  #: that it was when the tree was fetched
    path: str  #: the program's, from the repository's root


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """The user's tree that runs: a bundle of files, and where it came from."""

    bundle: str | None  #: sha256 of the bundle; None in a plan that nobody has uploaded for
    root: str  #: where the tree lay on the user's machine (shown, never opened by the server)
    directory: str = "."  #: the folder inside the tree where the command was typed
    kind: str = "folder"  #: git | folder
    commit: str | None = None
    patch: str | None = None  #: sha256 of the stored difference to the commit, None when there is none
    modified: int = 0  #: files that differ from the commit, new ones included
    files: int = 0
    size: int = 0  #: bytes
    link: str | None = None  #: what was given instead of a tree: the server fetches it
    place: Place | None = None  #: where the link led

    @property
    def line(self) -> str:
        """One line that says what code runs."""
        contents = f"({self.files} file{'s' if self.files != 1 else ''}, {size_text(self.size)})"
        if self.kind != "git":
            return f"{self.root} {contents}"
        ref = f" ({self.place.ref})" if self.place is not None and self.place.ref != self.place.commit else ""
        changes = f" + {self.modified} changed file{'s' if self.modified != 1 else ''}" if self.modified else ""
        return f"{self.root} at {(self.commit or 'no commit')[:10]}{ref}{changes} {contents}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """Everything that one `grid run` asks for, as the user typed it; nothing here is resolved yet."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    program: Program
    source: Source
    name: str | None = None  #: None = made up
    description: str = ""
    command: str = ""  #: the command line as typed, for showing
    cluster: str | None = None  #: None = the user's own default, else the server's computer
    instance_type: str = "local"
    gpus: int | None = None  #: per experiment; None or 0 = all GPUs of one machine
    cpus: int | None = None  #: per node; None or 0 = 2 per GPU
    framework: Framework = Framework.LIGHTNING
    processes_per_node: int | None = None  #: None = auto
    simulate: bool = False  #: use CPU ranks even where GPUs are
    python: str | None = None  #: interpreter of the ranks, an absolute path
    shell: dict[str, str] = field(default_factory=dict[str, str])  #: PATH, HOME … of the shell that typed the command
    environment: dict[str, str] = field(default_factory=dict[str, str])  #: --env
    grace_s: float = 15.0  #: between SIGTERM and SIGKILL when stopped
    strategy: Strategy = Strategy.GRID_SEARCH
    num_trials: int | None = None  #: points that random_search draws
    seed: int | None = None  #: of random_search and of distributions; None = chosen when the run is made
    max_experiments: int | None = None  #: most that a sweep may make; None = the usual limit
    parallel: int | None = None  #: experiments that run at once; None = as many as fit
    fail_fast: bool = False  #: stop the rest when the first experiments die alike
    max_time_s: float | None = None  #: an experiment that has run so long is stopped; None = no limit
    max_restarts: int | None = None  #: None = 3 when infrastructure fails, 0 for the script's own errors
    labels: dict[str, str] = field(default_factory=dict[str, str])
    datastore_name: str | None = None  #: mounted beside those that arguments name
    datastore_version: int | None = None  #: None = the newest
    datastore_mount_dir: str | None = None  #: None = /datastores/<name>
    dependencies: Dependencies | None = None  #: packages that the tree needs; None: what the interpreter has will do
    dependency_file: str | None = None  #: which file of the tree names them, for a tree that the server fetches
    actions: Actions = Actions()
    secrets: tuple[str, ...] = ()  #: names of the user's secrets, each a variable for the script
    use_spot: bool = False  #: on a cluster's machines that a market may take away
    auto_resume: bool = False  #: go on from the newest checkpoint after a restart of the computer, too

    def __post_init__(self) -> None:
        if self.name is not None:
            check_run_name(self.name)
        if self.gpus is not None and self.gpus < 0:
            raise InvalidValue(f"--gpus {self.gpus}: the number of GPUs cannot be negative", field="gpus")
        if self.cpus is not None and self.cpus < 0:
            raise InvalidValue(f"--cpus {self.cpus}: the number of CPUs cannot be negative", field="cpus")
        if self.processes_per_node is not None and self.processes_per_node < 1:
            raise InvalidValue(
                f"--processes_per_node {self.processes_per_node}: at least 1, or auto", field="processes_per_node"
            )
        _check_sweep(self)
        if self.max_time_s is not None and not 0 < self.max_time_s < float("inf"):
            raise InvalidValue(
                f"--max_time of {self.max_time_s:g} s: it must be longer than nothing", field="max_time_s"
            )
        if self.max_restarts is not None and self.max_restarts < 0:
            raise InvalidValue(f"--max_restarts {self.max_restarts}: it cannot be negative", field="max_restarts")
        _check_datastore(self)
        for key, value in self.labels.items():
            check_label(key, value)
        for name in self.secrets:
            check_secret_name(name)
            if "@" in name or name in self.environment:
                why = "it is no variable" if "@" in name else "--env gives it another value"
                raise InvalidValue(f"--secret {name}: {why}", field="secrets")
        for name in self.environment:
            if not name or "=" in name or "\0" in name:
                raise InvalidValue(f"{name!r} cannot name an environment variable", field="environment")


def _check_datastore(spec: RunSpec) -> None:
    if spec.datastore_name is not None:
        check_name(spec.datastore_name, "datastore")
    for name in ("datastore_version", "datastore_mount_dir"):
        if getattr(spec, name) is not None and spec.datastore_name is None:
            raise InvalidValue(f"--{name} without --datastore_name: of which datastore?", field=name)
    if spec.datastore_version is not None and spec.datastore_version < 1:
        raise InvalidValue(f"--datastore_version {spec.datastore_version}: at least 1", field="datastore_version")
    if spec.datastore_mount_dir is not None:
        check_mount_path(spec.datastore_mount_dir)


def _check_sweep(spec: RunSpec) -> None:
    for name in ("num_trials", "max_experiments", "parallel"):
        number: int | None = getattr(spec, name)
        if number is not None and number < 1:
            raise InvalidValue(f"--{name} {number}: at least 1", field=name)
    if spec.seed is not None and spec.seed < 0:
        raise InvalidValue(f"--seed {spec.seed}: a seed cannot be negative", field="seed")
