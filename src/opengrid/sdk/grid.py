"""`from opengrid import Grid`: what the command line does, from Python and in notebooks."""

from __future__ import annotations

import dataclasses
import os
import shlex
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from opengrid.client.api import Api
from opengrid.client.connect import connect
from opengrid.client.request import start_run
from opengrid.core.codec import from_json
from opengrid.core.errors import InvalidValue
from opengrid.core.spec import RunSpec
from opengrid.planning.arguments import override
from opengrid.planning.command import command_line
from opengrid.sdk.handles import Experiment, Plan, Run
from opengrid.sdk.request import Request, RunOptions, Shell, check_options, make_spec, options_of, read_request

if TYPE_CHECKING:  # a stub of typing's own from Python 3.11 on
    from typing_extensions import Unpack

    from opengrid.client.documents import DatastoreRow, InstanceTypeRow

#: A script's arguments: as one would type them, as a list, or by name, where a list is swept and True is a flag.
Arguments = str | Sequence[object] | Mapping[str, object]


class Grid:
    """A Grid server: the one that `grid login` has chosen, else this computer's own, which is started when needed.

    All calls block; Ctrl-C, or a notebook's interrupt, ends the waiting and leaves runs alone. Everything raises
    GridError with what happened and what to do next. Not for several threads at once: give each its own.

    >>> run = Grid().run("train.py", args={"lr": [0.1, 0.01]}, gpus=8, instance_type="4_v100_16gb")
    >>> run.wait().status
    'succeeded'
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        certificate: str | None = None,
        home: str | Path | None = None,
    ) -> None:
        given = {"GRID_URL": url, "GRID_TOKEN": token, "GRID_CERTIFICATE": certificate}
        given["GRID_HOME"] = None if home is None else str(home)
        self._given = {name: value for name, value in given.items() if value is not None}
        self._transport = connect(self._environment, tell=_note)
        self._api = Api(self._transport)

    def plan(self, script: str | Path, args: Arguments = (), **options: Unpack[RunOptions]) -> Plan:
        """Return what `run` would start with the same arguments; nothing is started or stored."""
        return Plan.of(self._api.plan(self._request(script, args, options).spec))

    def run(self, script: str | Path, args: Arguments = (), **options: Unpack[RunOptions]) -> Run:
        """Start a run of a script, a module (`module=True`), another program or a link; return at once.

        Lists, ranges and distributions among the arguments are swept, one experiment for each combination. Ranks run
        under this very Python unless `python=` says otherwise.
        """
        request = self._request(script, args, options)
        for text in request.tree.notes if request.tree is not None else ():
            _note(text)
        return self._run(start_run(self._api, request.spec, request.tree)["run"])

    def clone(self, run: str | Run, args: Arguments = (), **options: Unpack[RunOptions]) -> Run:
        """Start a run again with the code that ran then; options and arguments given here replace its own."""
        check_options(options)
        name = run.name if isinstance(run, Run) else run
        spec = from_json(RunSpec, self._api.request(name, tree=True)["request"])
        program = dataclasses.replace(spec.program, arguments=override(spec.program.arguments, words_of(args)))
        before = options_of(spec)
        wanted: RunOptions = {**before, **options}
        for key in ("environment", "labels"):
            wanted[key] = {**before.get(key, {}), **options.get(key, {})}
        made = make_spec(program, spec.source, wanted, shell=self._shell, command="")
        return self._run(self._api.create_run(_with_command(made))["run"])

    def get(self, run: str) -> Run:
        """Return the run with this name; NotFound offers names like it."""
        return Run(self._api, self._api.run(run))

    def experiment(self, name: str) -> Experiment:
        """Return the experiment with this name, `RUN-exp0`; NotFound offers names like it."""
        return Experiment(self._api, self._api.experiment(name))

    def runs(
        self, *, active: bool | None = None, everybody: bool = False, labels: Sequence[str] = (), limit: int = 20
    ) -> list[Run]:
        """Return your newest runs, or everybody's; `labels` are those that they must have, `key` or `key=value`."""
        rows = self._api.runs(active=active, mine=not everybody, labels=labels, limit=limit)["runs"]
        return [self.get(row["run"]) for row in rows]

    def instance_types(self) -> list[InstanceTypeRow]:
        """Return the types of machines."""
        return self._api.instance_types()

    def datastores(self) -> list[DatastoreRow]:
        """Return all versions of all datastores, newest first."""
        return self._api.datastores()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        self._transport.close()

    def __enter__(self) -> Grid:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Grid({self._given.get('GRID_URL', '')!r})" if "GRID_URL" in self._given else "Grid()"

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, **self._given}

    @property
    def _shell(self) -> Shell:
        return Shell(cwd=Path.cwd(), environment=self._environment)

    def _request(self, script: str | Path, args: Arguments, options: RunOptions) -> Request:
        check_options(options)
        wanted: RunOptions = {"python": sys.executable, **options}
        request = read_request(str(script), words_of(args), wanted, shell=self._shell)
        return dataclasses.replace(request, spec=_with_command(request.spec))

    def _run(self, name: str | None) -> Run:
        return self.get(str(name))


def words_of(args: Arguments) -> tuple[str, ...]:
    """Return a script's arguments as the words that it gets.

    By name: `{"lr": [0.1, 0.2], "verbose": True, "seed": None}` is `--lr "[0.1, 0.2]" --verbose`.
    """
    _check_arguments(args)
    if isinstance(args, str):
        return _split(args)
    if not isinstance(args, Mapping):
        return tuple(str(word) for word in args)
    words: list[str] = []
    for name, value in args.items():
        if value is None or value is False:
            continue
        option = str(name) if str(name).startswith("-") else f"--{name}"
        words += [option] if value is True else [option, str(_plain(value))]
    return tuple(words)


def _check_arguments(args: object) -> None:
    if not isinstance(args, (str, Sequence, Mapping)):
        raise InvalidValue(f"args={args!r}: a text, a list or a mapping is expected", field="args")


def _split(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        reason = str(error).lower()
        raise InvalidValue(f"args={text!r}: {reason}", hint='a list needs no quotes: ["--name", "it\'s"]') from None


def _plain(value: object) -> object:
    """Return an array as the list that it is: its own text has no commas."""
    to_list = getattr(value, "tolist", None)
    return to_list() if callable(to_list) else value


def _with_command(spec: RunSpec) -> RunSpec:
    return dataclasses.replace(spec, command=shlex.join(["grid", *command_line(spec)]))


def _note(text: str) -> None:
    warnings.warn(text, stacklevel=3)
