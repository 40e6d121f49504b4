"""`--like RUN` and `grid clone RUN`: another run's options are the defaults; what the command line says wins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from opengrid.cli.options import connected
from opengrid.core.names import split_experiment_name

if TYPE_CHECKING:
    from opengrid.core.spec import RunSpec

_READ = "opengrid.like"


@dataclass(frozen=True, slots=True, kw_only=True)
class Like:
    """The run that another one shall be like."""

    run: str
    spec: RunSpec
    held_back: tuple[str, ...]  #: variables whose values only its owner sees


def like_option(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Ask the server for the run before all other options, whose defaults it tells."""
    return _read(context, name, tree=False)


def cloned_option(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Do the same for a run whose tree shall run again, too."""
    return _read(context, name, tree=True)


def _read(context: click.Context, name: str | None, *, tree: bool) -> str | None:
    if name is None or context.resilient_parsing:
        return name
    from opengrid.core.codec import from_json  # other commands have nothing to decode
    from opengrid.core.spec import RunSpec
    from opengrid.planning.command import option_values

    experiment = split_experiment_name(name)
    with connected() as api:
        document = api.request(experiment[0] if experiment is not None else name, tree=tree)
    spec = from_json(RunSpec, document["request"])
    context.meta[_READ] = Like(run=document["run"], spec=spec, held_back=tuple(document["held_back"]))
    context.default_map = {**option_values(spec), **(context.default_map or {})}
    return name


def chosen_like() -> Like | None:
    """Return the run that the current command shall be like; None when there is none."""
    like: Like | None = click.get_current_context().meta.get(_READ)
    return like


def like_notes(given: tuple[str, ...]) -> list[str]:
    """Return what people should know of that run; `given` are the variables of `--env`."""
    like = chosen_like()
    if like is None:
        return []
    missing = [name for name in like.held_back if name not in {text.partition("=")[0] for text in given}]
    if not missing:
        return []
    return [f"{like.run} is another user's: the values of {', '.join(missing)} are not copied; --env gives them"]
