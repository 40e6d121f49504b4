"""`grid run --config FILE`: the file's values are defaults of the options; what the command line says wins."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from opengrid.core.errors import InvalidValue

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
    context.meta[_READ] = config
    values = {name: setting.value for name, setting in config.options.items()}
    context.default_map = {**(context.default_map or {}), **values}
    return path


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
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE and context.params[name] != setting.value
    ]
    return [*config.notes, *overruled]
