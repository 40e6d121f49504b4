"""`grid run`: everything before the script is Grid's, everything after it the script's."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource

from opengrid.cli.completing import files, instance_types, names_of, words
from opengrid.cli.config import chosen_config, config_notes, config_option, naming_the_line
from opengrid.cli.durations import Duration
from opengrid.cli.like import chosen_like, like_notes, like_option
from opengrid.cli.misplaced import misplaced_options
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import note, settings
from opengrid.cli.starting import show_plan, start
from opengrid.cli.unused import unused_options
from opengrid.cli.wanted import Options, wanted_options
from opengrid.core.errors import InvalidValue
from opengrid.core.spec import Framework, ProgramKind, RunSpec, Strategy
from opengrid.planning.command import is_folder, script_words
from opengrid.sdk.request import Request, Shell, read_request

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    _NumberType = click.ParamType[int | None]
else:
    _NumberType = click.ParamType


class _Processes(_NumberType):
    """A number of processes, or `auto`."""

    name = "auto|N"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        text = str(value)
        if text in ("auto", "None"):
            return None
        if not re.fullmatch(r"-?[0-9]+", text):
            self.fail(f"{text!r} is neither a number nor auto", param, ctx)
        return int(text)


def _refuse_dockerfile(_: click.Context, __: click.Parameter, value: str | None) -> None:
    if value is not None:
        raise InvalidValue(
            f"--dockerfile {value}: images are not built here",
            hint="requirements.txt names packages, a config file's actions commands, --python an interpreter",
            field="dockerfile",
        )


class _Run(click.Command):
    """Offers a shell none of our options after the script: there they are the script's."""

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        return [] if ctx.params.get("script") else super().shell_complete(ctx, incomplete)


@click.command(cls=_Run, context_settings={"allow_interspersed_args": False})
@click.option(
    "--config",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    shell_complete=files,
    callback=config_option,
    help="A YAML file that says what options and arguments do; the command line wins.",
)
@click.option(
    "--like",
    metavar="RUN",
    is_eager=True,
    expose_value=False,
    shell_complete=names_of,
    callback=like_option,
    help="Start from the options of RUN, and from its script when none is named.",
)
@click.option("--name", help="Name of the run [default: one is made up].")
@click.option("--description", default="", help="A note for yourself.")
@click.option("--cluster", metavar="NAME", help="Whose machines [default: your default cluster's, else this computer].")
@click.option(
    "--instance_type",
    default="local",
    shell_complete=instance_types,
    help="Type of the machines [default: this computer].",
)
@click.option("--gpus", type=int, help="GPUs of one experiment [default: all of one machine].")
@click.option("--cpus", type=int, help="CPUs of one node [default: 2 per GPU].")
@click.option(
    "--framework",
    default="lightning",
    show_default=True,
    shell_complete=words(*(f.value for f in Framework)),
    help="Or torch, torchelastic, tensorflow, julia.",
)
@click.option("--processes_per_node", type=_Processes(), default="auto", help="Ranks per node [default: one per GPU].")
@click.option("--simulate", is_flag=True, help="CPU ranks stand in for GPUs even where there are GPUs.")
@click.option("--python", shell_complete=files, help="Interpreter of the ranks [default: the active environment's].")
@click.option("--env", multiple=True, metavar="KEY[=VALUE]", help="A variable for the script; may be repeated.")
@click.option(
    "--env_file",
    multiple=True,
    metavar="FILE",
    shell_complete=files,
    help="Lines of KEY=VALUE, for the script; --env wins.",
)
@click.option("--secret", multiple=True, metavar="NAME", help="A secret for the script (grid secret set NAME).")
@click.option(
    "--dependency_file",
    metavar="FILE",
    shell_complete=files,
    help="Names the packages; or none [default: requirements.txt …].",
)
@click.option("-d", "--dockerfile", expose_value=False, callback=_refuse_dockerfile, help="Refused: no images here.")
@click.option("-l", "--localdir", is_flag=True, help="Run the current folder as it is, not the git repository.")
@click.option("--committed", is_flag=True, help="Run the last commit, without what changed since.")
@click.option(
    "--grace", type=click.FloatRange(min=0), default=15.0, help="Seconds from SIGTERM to SIGKILL [default: 15]."
)
@click.option(
    "--strategy",
    metavar="|".join(s.value for s in Strategy),
    default="grid_search",
    shell_complete=words(*(s.value for s in Strategy)),
    help="What becomes of lists, ranges and distributions among the arguments [default: grid_search, all of them].",
)
@click.option("--num_trials", type=int, help="Experiments that random_search draws.")
@click.option("--seed", type=int, help="Makes random_search and distributions reproducible.")
@click.option("--max_experiments", type=int, help="Most experiments that the sweep may have [default: 10000].")
@click.option("--parallel", type=int, metavar="N", help="At most N experiments at once [default: what fits].")
@click.option("--fail_fast", is_flag=True, help="Stop the rest when the first three experiments fail alike.")
@click.option("--max_time", type=Duration(), help="Stop an experiment that has run so long [default: no limit].")
@click.option(
    "--max_restarts",
    type=int,
    metavar="N",
    help="Starts of all ranks after the first [default: 3 when machines fail, 0 when the script does].",
)
@click.option("--use_spot", is_flag=True, help="Machines that a market may take away, for less; on clusters.")
@click.option("--auto_resume", is_flag=True, help="Go on by itself after a restart of the computer, too.")
@click.option("--datastore_name", metavar="NAME", help="A datastore that the script finds at its mount directory.")
@click.option("--datastore_version", type=int, metavar="N", help="Its version [default: the newest].")
@click.option("--datastore_mount_dir", metavar="DIR", help="Where the script finds it [default: /datastores/NAME].")
@click.option("--label", multiple=True, metavar="KEY=VALUE", help="To find the run by; may be repeated.")
@click.option(
    "--on_build", multiple=True, metavar="COMMAND", help="Bash before packages are installed; may be repeated."
)
@click.option("--on_build_start", multiple=True, metavar="COMMAND", help="The same, after those of --on_build.")
@click.option("--on_build_end", multiple=True, metavar="COMMAND", help="Bash after the packages.")
@click.option("--on_experiment_start", multiple=True, metavar="COMMAND", help="Bash on each node, before the ranks.")
@click.option("--on_experiment_end", multiple=True, metavar="COMMAND", help="Bash on each node, after the ranks.")
@click.option("--dry_run", is_flag=True, help="Show the plan; start nothing.")
@click.option("--detach", is_flag=True, help="Return as soon as the run is queued.")
@click.option("--follow", is_flag=True, help="Stay until the end and show what the ranks write.")
@click.option("--wait", is_flag=True, help="Stay until the end; exit code 0 only if all succeeded.")
@unused_options
@click.option("-m", "--module", is_flag=True, help="SCRIPT is a module (-m package.module).")
@click.argument("script", required=False, shell_complete=files)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[SCRIPT_ARGS]...", shell_complete=files)
@global_options
def run(**given: object) -> int:
    """Start a run: SCRIPT on as many machines as it needs.

    Options of grid stand before SCRIPT; everything after it is the script's own. SCRIPT is a Python file, a module
    (-m) or any other program. It runs in a copy of the git repository that it lies in, as that is on disk now, or of
    the current folder where there is none; and it starts in the current folder. SCRIPT may also be the link of a file
    on a git host (https://github.com/org/repo/blob/main/train.py), or of a repository with the script after it; then
    it starts in the repository's root.

    On a terminal the command stays until all ranks run. Ctrl-C while it waits or follows leaves the run alone.
    """
    options = Options(**cast("dict[str, Any]", given))
    with naming_the_line():
        return _run(options)


def _run(options: Options) -> int:
    request = _request(options)
    ours = {name for parameter in run.params for name in parameter.opts if name.startswith("--")}
    notes = (*like_notes(options.env), *config_notes(), *request.notes, *misplaced_options(request.typed, ours))
    for text in (*notes, *_idle_options(request.spec)):
        note(text)
    with connected() as api:
        if options.dry_run:
            return show_plan(api, request.spec)
        return start(api, request, options)


def _idle_options(spec: RunSpec) -> list[str]:
    """Return a note for what was typed and changes nothing; files of the original's say it without meaning it."""
    source = click.get_current_context().get_parameter_source("num_trials")
    if source is not ParameterSource.COMMANDLINE or spec.strategy is Strategy.RANDOM_SEARCH:
        return []
    return ["--num_trials has no effect without --strategy random_search"]


def _request(options: Options) -> Request:
    config, like = chosen_config(), chosen_like()
    wanted, words = wanted_options(options), options.arguments
    if options.script is not None:
        script = options.script
    elif like is not None:
        (script, *first), words = script_words(like.spec), like.spec.program.arguments
        words = (*first, *words)
        wanted["module"] = like.spec.program.kind is ProgramKind.MODULE
        wanted["localdir"] = options.localdir or (is_folder(like.spec) and not options.committed)
    else:
        raise InvalidValue("SCRIPT is missing", hint="grid run [OPTIONS] SCRIPT [SCRIPT_ARGS]...", field="script")
    if config is not None:
        added, notes = config.arguments_beside(words)
        words = (*words, *added)
        for text in notes:
            note(text)
    return read_request(
        script,
        words,
        wanted,
        shell=Shell(cwd=Path.cwd(), environment=os.environ),
        command=shlex.join(["grid", *settings().arguments]),
    )
