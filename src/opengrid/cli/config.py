"""`grid run --config FILE`: the file's values are defaults of the options; what the command line says wins."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from opengrid.core.errors import InvalidValue, UserError
from opengrid.core.spec import MOMENTS

if TYPE_CHECKING:
    from opengrid.planning.config_file import ConfigFile

_READ = "opengrid.config"


def config_option(context: click.Context, _: click.Parameter, path: str | None) -> str | None:
    """Read the file before all other options, whose defaults it tells."""
    if path is None or context.resilient_parsing:
        return path
    from opengrid.planning.config_file import read_config  # a reader of YAML that other commands need not load

    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise InvalidValue(f"--config {path}: {reason}", field="config") from error
    config = read_config(text, path)
    _check_values(context, config)
    context.meta[_READ] = config
    values = {name: setting.value for name, setting in config.options.items()}
    context.default_map = {**(context.default_map or {}), **values}
    return path


def _check_values(context: click.Context, config: ConfigFile) -> None:
    """Refuse a value that its option would not take, and say where it stands."""
    for parameter in context.command.params:
        setting = config.options.get(parameter.name or "")
        if setting is None:
            continue
        try:
            parameter.type_cast_value(context, str(setting.value))  # as text: 8.5 and true are no numbers of GPUs
        except click.BadParameter as error:
            where = f"{config.origin}, line {setting.line}"
            raise InvalidValue(f"{where}: {parameter.name}: {error.message}", field=parameter.name) from error


@contextmanager
def naming_the_line() -> Generator[None]:
    """Say of an error inside which line of the file its value comes from, when it comes from there."""
    try:
        yield
    except UserError as error:
        context, config = click.get_current_context(), chosen_config()
        setting = config.options.get(error.field or "") if config is not None else None
        if config is None or setting is None or _is_typed(context, error.field or ""):
            raise
        where = f"{config.origin}, line {setting.line}"
        raise type(error)(f"{where}: {error.message}", hint=error.hint, field=error.field) from error


def _is_typed(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def chosen_config() -> ConfigFile | None:
    """Return what the file of the current command says; None when it has none."""
    config: ConfigFile | None = click.get_current_context().meta.get(_READ)
    return config


def config_notes() -> list[str]:
    """Return what people should know: keys without effect, and what the command line has overruled."""
    context, config = click.get_current_context(), chosen_config()
    if config is None:
        return []
    overruled = [
        f"--{name} {context.params[name]} of the command line wins over {setting.value} in {config.origin}, "
        f"line {setting.line}"
        for name, setting in config.options.items()
        if _is_typed(context, name) and context.params[name] != setting.value
    ]
    chosen = {text.partition("=")[0] for text in context.params["env"]}
    variables = [
        f"--env {name} of the command line wins over {value} in {config.origin}, "
        f"line {config.line_of(f'compute.train.environment.{name}')}"
        for name, value in config.environment.items()
        if name in chosen
    ]
    actions = [
        f"--{moment} of the command line wins over {config.origin}, "
        f"line {config.line_of(f'compute.train.actions.{moment}')}"
        for moment in MOMENTS
        if context.params[moment] and getattr(config.actions, moment)
    ]
    return [*config.notes, *overruled, *variables, *actions]
