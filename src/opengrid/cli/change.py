"""`grid stop`, `grid delete`, `grid resume` and `grid edit`."""

from __future__ import annotations

import sys

import click

from opengrid.cli.clusters import change_cluster, changing_options, remove_cluster
from opengrid.cli.completing import kinds_and_names
from opengrid.cli.options import connected, global_options
from opengrid.cli.output import note, plural, print_json, settings
from opengrid.client.calls.runs import Kind
from opengrid.core.errors import InvalidValue, UserError
from opengrid.core.names import split_experiment_name

_KINDS = ("run", "experiment")
_CLUSTER = "cluster"
_ARTICLE: dict[Kind, str] = {"run": "a run", "experiment": "an experiment"}


@click.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="[run|experiment] NAME...", shell_complete=kinds_and_names(*_KINDS)
)
@click.option("--force", is_flag=True, help="Kill all that runs for them at once; what it had not sent yet is lost.")
@global_options
def stop(names: tuple[str, ...], *, force: bool) -> None:
    """Stop runs or experiments; what they made is kept.

    All ranks of all machines get SIGTERM at once, and SIGKILL when the grace time of the run is over. --force is for
    machines that do not listen any more.
    """
    stopped: list[str] = []
    already: list[str] = []
    with connected() as api:
        for kind, some in _by_kind(names).items():
            answer = api.stop(kind, some, force=force)
            stopped += answer["stopped"]
            already += answer["already"]
    if settings().is_json:
        print_json({"stopped": stopped, "already": already})
        return
    for name in stopped:
        click.echo(f"stopping {name}")
    for name in already:
        click.echo(f"{name} had ended before")


@click.command()
@click.argument(
    "names",
    nargs=-1,
    required=True,
    metavar="[run|experiment|cluster] NAME...",
    shell_complete=kinds_and_names(*_KINDS, _CLUSTER),
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@global_options
def delete(names: tuple[str, ...], *, yes: bool) -> int:
    """Delete runs or experiments that have ended, for good, with their logs and all they wrote; or clusters.

    `delete cluster NAME` is `clusters remove NAME`: Ray is ended where this server has started it.
    """
    if names[0] == _CLUSTER:
        return _delete_clusters(names[1:], yes=yes)
    by_kind = _by_kind(names)
    if not yes and not _agrees(
        [name for some in by_kind.values() for name in some], ", with logs and everything written"
    ):
        click.echo("nothing was deleted", err=True)
        return 1
    deleted: list[str] = []
    with connected() as api:
        for kind, some in by_kind.items():
            deleted += api.delete(kind, some)
    if settings().is_json:
        print_json({"deleted": deleted})
    else:
        for name in deleted:
            click.echo(f"deleted {name}")
    return 0


@click.command()
@click.argument(
    "names", nargs=-1, required=True, metavar="[run|experiment] NAME...", shell_complete=kinds_and_names(*_KINDS)
)
@click.option("--failed", is_flag=True, help="Only what has failed, not what was stopped.")
@global_options
def resume(names: tuple[str, ...], *, failed: bool) -> None:
    """Go on with what has failed or was stopped, from its newest checkpoint.

    The experiment is queued again as a new attempt: its files are put back, and the same command runs.
    """
    resumed: list[str] = []
    left: list[str] = []
    with connected() as api:
        for kind, some in _by_kind(names).items():
            answer = api.resume(kind, some, failed=failed)
            resumed += answer["resumed"]
            left += answer["left"]
    if settings().is_json:
        print_json({"resumed": resumed, "left": left})
        return
    for name in resumed:
        click.echo(f"resuming {name}")
    if left:
        note(f"{plural(len(left), 'experiment')} had neither failed nor been stopped")
    if not resumed:
        click.echo("nothing to resume", err=True)


@click.group()
@global_options
def edit() -> None:
    """Change a cluster that no run uses."""


@edit.command("cluster")
@click.argument("name")
@changing_options
@global_options
def edit_cluster(
    name: str,
    *,
    address: str | None,
    token_file: str | None,
    types: str | None,
    work_dir: str | None,
    python: str | None,
    replace_s: float | None,
) -> None:
    """Change what the cluster NAME is; what is not given stays.

    Hosts cannot be changed: `grid clusters remove NAME`, then add it with others.
    """
    plain = {"address": address, "work_dir": work_dir, "python": python, "replace_s": replace_s}
    row = change_cluster(name, plain, token_file=token_file, types=types)
    if settings().is_json:
        print_json(row)
    else:
        click.echo(f"{name} is changed; `grid clusters check {name}` asks its machines")


def _delete_clusters(names: tuple[str, ...], *, yes: bool) -> int:
    if not names:
        raise InvalidValue("which cluster? A name is missing", hint="`grid clusters` lists them")
    if not yes and not _agrees(list(names), ""):
        click.echo("nothing was deleted", err=True)
        return 1
    with connected() as api:
        for name in names:
            remove_cluster(api, name)
    if settings().is_json:
        print_json({"deleted": list(names)})
    return 0


def _by_kind(names: tuple[str, ...]) -> dict[Kind, list[str]]:
    """Return the names under `run` or `experiment`: as the first word says, or without one as each name reads."""
    if names[0] in _KINDS:
        kind, rest = names[0], list(names[1:])
        if not rest:
            raise InvalidValue(f"which {kind}? A name is missing", hint="`grid status` shows the names")
        wrong = next((name for name in rest if _kind_of(name) != kind), None)
        if wrong is not None:
            raise InvalidValue(
                f"{wrong} reads as the name of {_ARTICLE[_kind_of(wrong)]}, not of {_ARTICLE[kind]}", field="names"
            )
        return {kind: rest}
    found: dict[Kind, list[str]] = {}
    for name in names:
        found.setdefault(_kind_of(name), []).append(name)
    return found


def _kind_of(name: str) -> Kind:
    return "run" if split_experiment_name(name) is None else "experiment"


def _agrees(names: list[str], more: str) -> bool:
    what = ", ".join(names) if len(names) <= 3 else plural(len(names), "thing")
    if sys.stdin is None or not sys.stdin.isatty():  # None: the shell closed it
        raise UserError(f"deleting {what} is final, and nobody is here to ask", hint="--yes deletes without asking")
    return click.confirm(f"Delete {what}{more}, for good?", err=True)
