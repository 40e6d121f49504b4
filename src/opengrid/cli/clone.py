"""`grid clone RUN`: the same tree, script and options once more, with some of them changed."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path
from typing import Any, cast

import click

from opengrid.cli.completing import names_of
from opengrid.cli.like import Like, chosen_like, cloned_option, like_notes
from opengrid.cli.options import connected
from opengrid.cli.output import note, settings
from opengrid.cli.run import run
from opengrid.cli.starting import show_plan, start
from opengrid.cli.wanted import Options, wanted_options
from opengrid.client.program import Typed
from opengrid.core.errors import InvalidValue
from opengrid.planning.arguments import override
from opengrid.planning.command import command_line
from opengrid.sdk.request import Request, Shell, make_spec

#: What of `grid run` says which tree and script run: a clone has those of its run.
_OF_THE_TREE = ("config", "like", "localdir", "committed", "module", "script", "arguments")

_HELP = """Start a run again: its code and options, except what is given here.

The code is what ran then, whatever has become of it on disk (`grid run --like RUN` takes today's). Options are those of
`grid run`. Arguments after -- replace those of RUN that have the same names, or are added: grid clone RUN -- --lr 0.2
"""


def _clone(**given: object) -> int:
    options = Options(script=None, localdir=False, committed=False, module=False, **cast("dict[str, Any]", given))
    like = chosen_like()
    if like is None:
        raise InvalidValue("RUN is missing", hint="grid clone RUN [OPTIONS] [-- SCRIPT_ARGS...]", field="run")
    request = _request(like, options)
    for text in like_notes(options.env):
        note(text)
    if not settings().is_json:
        click.echo(f"command   {shlex.join(['grid', *command_line(request.spec)])}")
    with connected() as api:
        if options.dry_run:
            return show_plan(api, request.spec)
        return start(api, request, options)


def _request(like: Like, options: Options) -> Request:
    program = like.spec.program
    program = dataclasses.replace(program, arguments=override(program.arguments, options.arguments))
    spec = make_spec(
        program,
        like.spec.source,
        wanted_options(options),
        shell=Shell(cwd=Path.cwd(), environment=os.environ),
        command=shlex.join(["grid", *settings().arguments]),
    )
    typed = Typed(kind=program.kind, target=program.target, arguments=program.arguments, file=None)
    return Request(typed=typed, tree=None, spec=spec)


clone = click.Command(
    "clone",
    callback=_clone,
    help=_HELP,
    params=[
        click.Argument(
            ["run"], metavar="RUN", is_eager=True, expose_value=False, callback=cloned_option, shell_complete=names_of
        ),
        *(parameter for parameter in run.params if parameter.name not in _OF_THE_TREE),
        click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, metavar="[-- SCRIPT_ARGS]..."),
    ],
)
