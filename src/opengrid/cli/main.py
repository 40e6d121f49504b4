"""`grid`: finds the command, and turns every error into a message, a hint and an exit code."""

from __future__ import annotations

import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from opengrid.cli.options import global_options, same_option
from opengrid.cli.output import Settings, print_json, tell
from opengrid.core.errors import GridError, InvalidValue

#: As a shell reports a program that a signal ended: Ctrl-C, and a reader that has left.
_INTERRUPTED, _NO_READER = 130, 141

#: Command → its module, its name there, and its line in `grid --help`; loading all modules would take half the time of
#: the whole command. A test compares the lines with the commands' own.
_COMMANDS: dict[str, tuple[str, str, str]] = {
    "run": ("run", "run", "Start a run: SCRIPT on as many machines as it needs."),
    "clone": ("clone", "clone", "Start a run again: its code and options, except what is given here."),
    "status": ("show", "status", "Show active runs, a run's experiments, or one experiment."),
    "history": ("show", "history", "Show all runs, newest first."),
    "view": ("view", "view", "Open the web page, or that of the run or experiment NAME."),
    "why": ("why", "why", "Show why an experiment failed, and what to do."),
    "logs": ("logs", "logs", "Show what an experiment's ranks wrote."),
    "metrics": (
        "metrics",
        "metrics",
        "Show an experiment's metrics, or those of all experiments of a run.",
    ),
    "tensorboard": ("view", "tensorboard", "Open TensorBoard for runs and experiments."),
    "stacks": ("stacks", "stacks", "Show where the ranks of a running experiment are."),
    "artifacts": ("artifacts", "artifacts", "Download the files that experiments have made."),
    "stop": ("change", "stop", "Stop runs or experiments; what they made is kept."),
    "resume": ("change", "resume", "Go on with what has failed or was stopped, from its newest checkpoint."),
    "rehearse": ("rehearse", "rehearse", "Bring a fault about on a running experiment, to see it recover."),
    "delete": (
        "change",
        "delete",
        "Delete runs or experiments that have ended, for good, with their logs and all they wrote; or clusters.",
    ),
    "datastore": ("data", "datastore", "List, create, look at and delete versioned data."),
    "instance-types": ("show", "instance_types", "Show the types of machines."),
    "login": ("accounts", "login", "Use the server at URL from now on."),
    "secret": ("secrets", "secret", "Keep tokens and passwords for scripts."),
    "logout": ("accounts", "logout", "Use this computer's own server again."),
    "user": ("accounts", "user", "Show who you are; make, list and revoke users."),
    "clusters": ("clusters", "clusters", "List, add, check or remove clusters: machines beyond this computer."),
    "edit": ("change", "edit", "Change a cluster that no run uses."),
    "server": ("admin", "server", "Start, stop or show the server behind all commands."),
    "sync-env": ("environment", "sync_env", "Write the packages of the active environment to the requirements file."),
    "doctor": ("doctor", "doctor", "Look whether this computer can train: torch, GPUs, memory, limits, disk, network."),
    "completion": ("completing", "completion", "Print what makes a shell complete commands, options and names."),
    "docs": ("docs", "docs", "Show the documentation: its chapters, one of them, or a page (guide, engines …)."),
    "version": ("admin", "version", "Show the version."),
}

_ALIASES = {"train": "run", "cancel": "stop"}


class _ReaderLeft(Exception):
    """Whoever read our output has closed it, as `head` does."""


class _Commands(click.Group):
    """Loads a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = cmd_name.replace("_", "-")
        found = _COMMANDS.get(_ALIASES.get(name, name))
        if found is None:
            return None
        module = importlib.import_module(f"opengrid.cli.{found[0]}")
        command: click.Command = getattr(module, found[1])
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise _ReaderLeft from error  # click would make a failure of it

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in _COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        import difflib  # for a mistyped command only

        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            near = difflib.get_close_matches(args[0], [*_COMMANDS, *_ALIASES], n=1)
            raise InvalidValue(
                f"grid has no command {args[0]!r}", hint=f"did you mean `grid {near[0]}`?" if near else "`grid --help`"
            )
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": same_option},
    epilog="`grid COMMAND --help` says more. Ctrl-C while waiting or following stops only that (exit code 130).",
)
@global_options
def grid() -> None:
    """Turn a training script into one multi-node training, without changing it."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    settings = Settings(arguments=tuple(given))
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name may hold what the terminal's encoding has no sign for
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _run(given, settings)
        sys.stdout.flush()
    except (_ReaderLeft, BrokenPipeError):
        # Whoever read our output has enough. Nothing may be written to it at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = _NO_READER
    sys.exit(code)


def _run(arguments: list[str], settings: Settings) -> int:
    try:
        result: object = grid.main(args=arguments, prog_name="grid", standalone_mode=False, obj=settings)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as done:
        return done.exit_code
    except (click.Abort, KeyboardInterrupt):
        tell("interrupted")
        return _INTERRUPTED
    except click.ClickException as error:
        usage = error.ctx.get_usage() if isinstance(error, click.UsageError) and error.ctx else None
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "grid"
        hint = f"`{path} --help` lists what there is"
        settings.is_json = settings.is_json or _asks_for_json(arguments)
        return _fail(InvalidValue(error.format_message(), hint=hint), settings, usage)
    except (_ReaderLeft, BrokenPipeError):
        raise
    except GridError as error:
        return _fail(error, settings)
    except Exception as error:  # noqa: BLE001 - the edge: nothing is above us but the interpreter
        unforeseen = GridError(
            f"{type(error).__name__}: {error}", hint="this is a fault of grid's: --debug shows where it happened"
        )
        return _fail(unforeseen, settings)


def _fail(error: GridError, settings: Settings, usage: str | None = None) -> int:
    if settings.debug:
        import traceback  # loads half as much again as all the rest of a command

        traceback.print_exc()
    if settings.is_json:
        print_json(error.to_wire())
    else:
        if usage:
            tell(usage)
        tell(f"{click.style('error:', fg='red') if _is_coloured() else 'error:'} {error.message}")
        if error.hint:
            tell(f"hint: {error.hint}")
    return error.exit_code


def _is_coloured() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR")


def _asks_for_json(arguments: list[str]) -> bool:
    """Whether a command line that could not be understood asks for JSON."""
    pairs = [tuple(arguments[i : i + 2]) for i in range(len(arguments))]
    return (
        ("-o", "json") in pairs
        or ("--output", "json") in pairs
        or "--output=json" in arguments
        or "-ojson" in arguments
    )
