"""What is asked for when a cluster is added or changed, and whether it can be."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

from opengrid.core.errors import Conflict, InvalidValue
from opengrid.core.names import check_name
from opengrid.core.records.clusters import LOCAL_CLUSTER, Cluster
from opengrid.planning.catalogue import Catalogue
from opengrid.planning.markets import find_machine_type

#: Below which experiments work on every machine, when nobody said otherwise: a local disk, on most.
WORK_DIR = "/tmp/opengrid-work"  # noqa: S108 - the machines make it theirs, or refuse

_ENGINES = ("ray",)

_LONGEST_REPLACE_S = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCluster:
    """What `grid clusters add` asks for."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    name: str
    engine: str
    address: str = ""  #: of the engine's API; or else
    hosts: tuple[str, ...] = ()  #: on which the engine is to be started: [USER@]HOST[:PORT]
    install: tuple[str, ...] = ()  #: packages that the hosts get beside the engine
    token: str | None = None  #: of the engine's API
    possible: dict[str, int] = field(default_factory=dict[str, int])
    work_dir: str = WORK_DIR
    python: str | None = None
    replace_s: float | None = None  #: how long a gang waits for a machine in the place of a lost one; None: as usual


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterChanges:
    """What `grid edit cluster` asks for; None stays as it is, "" and 0 are as when nobody says anything."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    address: str | None = None
    token: str | None = None
    possible: dict[str, int] | None = None
    work_dir: str | None = None
    python: str | None = None
    replace_s: float | None = None


def checked_cluster(new: NewCluster, catalogue: Catalogue, *, user: str, now_us: int) -> Cluster:
    """Return what is asked for as a record; InvalidValue, Conflict or UnknownInstanceType when it cannot be."""
    check_name(new.name, "cluster")
    if new.name == LOCAL_CLUSTER:
        raise Conflict(f"{LOCAL_CLUSTER} is this computer", hint="choose another name")
    if new.engine not in _ENGINES:
        raise InvalidValue(f"there is no engine {new.engine!r}", hint=f"one of: {', '.join(_ENGINES)}", field="engine")
    if bool(new.hosts) == bool(new.address):
        raise InvalidValue("a cluster is made of hosts, or has an address", hint="--hosts or --address")
    if new.address and not _is_address(new.address):
        raise InvalidValue(f"{new.address!r} is no address", hint="http://HEAD:8265", field="address")
    if new.token is not None and (not new.token.isprintable() or len(new.token.split()) != 1):
        raise InvalidValue("a token is one word of printable characters", field="token")
    python = new.python if new.python and not new.hosts else "/"  # on hosts it may begin with ~/
    for path, name, what in ((new.work_dir, "work_dir", "work folder"), (python, "python", "interpreter")):
        if not os.path.isabs(path):
            raise InvalidValue(f"the {what} {path!r} must be an absolute path", field=name)
    for name, most in new.possible.items():
        find_machine_type(name, catalogue)
        if most < 1:
            raise InvalidValue(f"{most} machines of {name}: at least 1", field="possible")
    if new.replace_s is not None and not 0 < new.replace_s <= _LONGEST_REPLACE_S:
        raise InvalidValue(
            f"to wait {new.replace_s:g} s for a machine: more than 0, and at most a day", field="replace_s"
        )
    return Cluster(
        name=new.name,
        engine=new.engine,
        address=new.address.rstrip("/"),
        possible=dict(new.possible),
        work_dir=os.path.normpath(new.work_dir),
        python=new.python,
        user=user,
        created_us=now_us,
        replace_s=new.replace_s,
    )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # a port that is none
        return False
