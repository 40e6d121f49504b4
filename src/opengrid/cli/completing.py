"""`grid completion`, and what a shell is offered for names: runs, experiments, types of machines, faults."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, cast

import click

from opengrid.cli.options import global_options
from opengrid.core.errors import GridError, InvalidValue

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from opengrid.client.documents import RunsDocument

#: A shell waits for us at every press of the key.
_PATIENCE_S = 1.0

#: More names than these help nobody.
_MOST = 50

_WHERE = {
    "bash": 'add to ~/.bashrc:  eval "$(grid completion bash)"',
    "zsh": 'add to ~/.zshrc:  eval "$(grid completion zsh)"',
    "fish": "write it to ~/.config/fish/completions/grid.fish",
}


def words(*known: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what offers these words."""
    return lambda context, parameter, incomplete: [word for word in known if word.startswith(incomplete)]


@click.command()
@click.argument("shell", metavar="bash|zsh|fish", shell_complete=words(*_WHERE))
@global_options
def completion(shell: str) -> None:
    """Print what makes a shell complete commands, options and names.

    For bash and zsh, `eval "$(grid completion bash)"` in the shell's start file; for fish, a file of its completions.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is None or shell not in _WHERE:
        raise InvalidValue(f"{shell!r} cannot be completed for", hint="one of: bash, zsh, fish", field="shell")
    root = click.get_current_context().find_root().command
    click.echo(f"# {_WHERE[shell]}")
    click.echo(kind(root, {}, "grid", "_GRID_COMPLETE").source())


def names_of(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return runs and experiments whose names begin so, the newest first, if a server runs."""
    return [name for name in _known_names() if name.startswith(incomplete)][:_MOST]


def kinds_and_names(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return what offers these words first, and always names."""

    def offer(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
        words = kinds if not context.params.get(parameter.name or "") else ()
        return [*(word for word in words if word.startswith(incomplete)), *names_of(context, parameter, incomplete)]

    return offer


def files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Have the shell offer files and folders, as it does itself."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def instance_types(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return the types of machines whose names begin so."""
    from opengrid.planning.catalogue import load_catalogue

    known = dict.fromkeys(["local", *(kind.name for kind in load_catalogue().types)])  # two clouds' may share a name
    return [name for name in known if name.startswith(incomplete.lower())]


def faults(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    """Return what can be rehearsed."""
    from opengrid.core.protocol import Fault

    return [fault.value for fault in Fault if fault.value.startswith(incomplete)]


def _known_names() -> Iterator[str]:
    """Yield names from the server that runs; none is started, and one that does not answer is not waited for."""
    from opengrid.client.connect import running

    try:
        http = running(os.environ, timeout_s=_PATIENCE_S)
        if http is None:
            return
        answer = http.request("GET", "/api/v1/runs", query={"limit": _MOST}).json()
    except GridError:
        return
    document = cast("RunsDocument", answer)
    for row in document["runs"]:
        yield row["run"]
        yield from (f"{row['run']}-exp{index}" for index in range(min(_MOST, row["experiments"])))
