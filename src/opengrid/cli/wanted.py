"""What `grid run` and `grid clone` are asked for: what was typed, and what a config file or another run says."""

from __future__ import annotations

import os
from dataclasses import dataclass

from opengrid.cli.config import chosen_config
from opengrid.cli.like import chosen_like
from opengrid.client.env_file import variables_of_files
from opengrid.client.program import chosen_variables
from opengrid.core.errors import InvalidValue
from opengrid.core.names import parse_labels
from opengrid.core.spec import MOMENTS, Actions
from opengrid.sdk.request import RunOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed, or a config file or another run says."""

    script: str | None
    arguments: tuple[str, ...]
    name: str | None
    description: str
    cluster: str | None
    instance_type: str
    gpus: int | None
    cpus: int | None
    framework: str
    processes_per_node: int | None
    simulate: bool
    python: str | None
    env: tuple[str, ...]
    env_file: tuple[str, ...]
    secret: tuple[str, ...]
    dependency_file: str | None
    localdir: bool
    committed: bool
    grace: float
    strategy: str
    num_trials: int | None
    seed: int | None
    max_experiments: int | None
    parallel: int | None
    fail_fast: bool
    max_time: float | None
    max_restarts: int | None
    use_spot: bool
    auto_resume: bool
    datastore_name: str | None
    datastore_version: int | None
    datastore_mount_dir: str | None
    label: tuple[str, ...]
    on_build: tuple[str, ...]
    on_build_start: tuple[str, ...]
    on_build_end: tuple[str, ...]
    on_experiment_start: tuple[str, ...]
    on_experiment_end: tuple[str, ...]
    dry_run: bool
    detach: bool
    follow: bool
    wait: bool
    module: bool

    def __post_init__(self) -> None:
        if self.detach and (self.follow or self.wait):
            raise InvalidValue("--detach returns at once, --follow and --wait stay", hint="choose one of them")


def wanted_options(options: Options) -> RunOptions:
    """Return what was typed, and what a config file or another run says where nothing was, as values."""
    config, like = chosen_config(), chosen_like()
    return {
        "name": options.name,
        "description": options.description,
        "cluster": options.cluster,
        "instance_type": options.instance_type,
        "gpus": options.gpus,
        "cpus": options.cpus,
        "framework": options.framework,
        "processes_per_node": options.processes_per_node,
        "simulate": options.simulate,
        "python": options.python,
        "environment": {
            **(like.spec.environment if like is not None else {}),
            **(config.environment if config is not None else {}),
            **variables_of_files(options.env_file),
            **chosen_variables(options.env, os.environ),
        },
        "secrets": tuple(dict.fromkeys((*(like.spec.secrets if like is not None else ()), *options.secret))),
        "dependency_file": options.dependency_file,
        "dependencies": like.spec.dependencies if like is not None else None,
        "actions": _actions(
            options,
            *((config.actions,) if config is not None else ()),
            *((like.spec.actions,) if like is not None else ()),
        ),
        "module": options.module,
        "localdir": options.localdir,
        "committed": options.committed,
        "grace_s": options.grace,
        "strategy": options.strategy,
        "num_trials": options.num_trials,
        "seed": options.seed,
        "max_experiments": options.max_experiments,
        "parallel": options.parallel,
        "fail_fast": options.fail_fast,
        "max_time_s": options.max_time,
        "max_restarts": options.max_restarts,
        "use_spot": options.use_spot,
        "auto_resume": options.auto_resume,
        "datastore_name": options.datastore_name,
        "datastore_version": options.datastore_version,
        "datastore_mount_dir": options.datastore_mount_dir,
        "labels": {
            **(like.spec.labels if like is not None else {}),
            **{key: value or "" for key, value in parse_labels(options.label, needs_value=True).items()},
        },
    }


def _actions(options: Options, *others: Actions) -> Actions:
    """Return, for each moment, the commands that were typed, else those of the first of the others that has some."""
    said: dict[str, list[tuple[str, ...]]] = {
        name: [getattr(one, name) for one in (options, *others)] for name in MOMENTS
    }
    return Actions(**{name: next(filter(None, commands), ()) for name, commands in said.items()})
