"""The instance types that exist: names in all their spellings, sizes, prices. The data is catalogue.toml."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from opengrid.core.errors import InvalidValue, UnknownInstanceType
from opengrid.planning.toml_data import packaged_text, parse_toml

#: The type that means the computer at hand; not in the catalogue, see planning.inventory.local_type.
LOCAL = "local"

#: The heading of machines that are no cloud's.
_GENERIC = "generic"


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceType:
    """One machine that can be had."""

    name: str  #: nickname: 4_v100_16gb, 2_cpu_4gb; machines that differ in CPUs, memory or cloud may share it
    cloud: str  #: the cloud's own name: p3.8xlarge; "" when no cloud sells it
    provider: str  #: aws | azure | gcp | … as headed in the data
    cpus: int
    memory_gb: float  #: the machine's
    gpus: int = 0
    accelerator: str = ""  #: V100; "" on CPU machines
    gpu_memory_gb: int = 0  #: of one GPU
    on_demand: float = 0.0  #: $/h
    spot: float | None = None  #: $/h, None where it is not sold so

    def __post_init__(self) -> None:
        broken = (
            # `local` is what was detected, be it odd.
            ("cpus must be at least 1, and at least gpus", self.cpus < max(1, self.gpus if self.name != LOCAL else 1)),
            ("memory_gb must be positive", self.memory_gb <= 0),
            ("a machine with GPUs needs accelerator and gpu_memory_gb", self.gpus > 0 and not self._describes_gpus),
            ("gpus and prices cannot be negative", min(self.gpus, self.on_demand, self.spot or 0.0) < 0),
        )
        for rule, is_broken in broken:
            if is_broken:
                raise InvalidValue(f"instance type {self.cloud or self.name}: {rule}")

    @property
    def _describes_gpus(self) -> bool:
        return self.accelerator != "" and self.gpu_memory_gb > 0

    @property
    def spellings(self) -> tuple[str, ...]:
        """Everything that names this machine: nickname, cloud's name, and the spelling by the machine's memory."""
        by_memory = (f"{self.gpus}_{self.accelerator}_{self.memory_gb:g}gb",) if self.gpus else ()
        return tuple(name for name in (self.name, self.cloud, *by_memory) if name)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All instance types, in the order of the data."""

    types: tuple[InstanceType, ...]

    def find(self, name: str) -> InstanceType:
        """Return the type that a user named, in any spelling; UnknownInstanceType offers the nearest names."""
        found = _index(self).get(normal(name))
        if found is None:
            near = self._nearest(name)
            offer = f"did you mean {' or '.join(near)}? " if near else ""
            raise UnknownInstanceType(
                f"there is no instance type {name!r}",
                hint=f"{offer}`grid instance-types` lists all",
                field="instance_type",
            )
        return found

    def with_gpus(self, *, like: InstanceType, at_least: int = 1) -> tuple[InstanceType, ...]:
        """Return the machines with that many GPUs or more, nearest to `like` first: model, then size, then price."""
        enough = [kind for kind in self.types if kind.gpus >= at_least]
        return tuple(sorted(enough, key=lambda kind: _distance(kind, like)))

    def nickname_of(self, *, kind: str, gpus: int, accelerator: str) -> str | None:
        """Return what a machine is called here: by its own type's name, else by its GPUs where those tell which it is.

        A type that is not in the catalogue keeps its name.
        """
        if kind:
            found = _index(self).get(normal(kind))
            return found.name if found is not None else kind
        names = {t.name for t in self.types if gpus and (t.gpus, t.accelerator.lower()) == (gpus, accelerator.lower())}
        return names.pop() if len(names) == 1 else None

    def merged(self, text: str, origin: str) -> Catalogue:
        """Return this catalogue with a site's own file laid over it.

        A machine of a known name changes only in the fields that the file gives; a new name needs them all.
        """
        known = {normal(kind.cloud or kind.name): kind for kind in self.types}
        for provider, name, fields in _entries(text, origin):
            key = normal(name)
            base = known.get(key) or _index(self).get(key)
            if base is not None:
                key = normal(base.cloud or base.name)
            known[key] = _instance_type(name, fields, base, provider, origin)
        return Catalogue(tuple(known.values()))

    def _nearest(self, name: str) -> list[str]:
        wanted = normal(name)
        shown = {normal(n): n for kind in reversed(self.types) for n in (kind.cloud, kind.name) if n}
        shown[LOCAL] = LOCAL
        containing = sorted((n for n in shown if len(wanted) > 1 and wanted in n), key=lambda n: (len(n), n))
        near = dict.fromkeys([*containing, *difflib.get_close_matches(wanted, shown, n=3, cutoff=0.6)])
        return [shown[n] for n in list(near)[:3]]


def load_catalogue(site_file: str | None = None) -> Catalogue:
    """Return the packaged catalogue, with the text of a site's own file laid over it when there is one."""
    catalogue = Catalogue(()).merged(packaged_text("catalogue.toml"), "catalogue.toml")
    return catalogue if site_file is None else catalogue.merged(site_file, "the site's instance types")


def normal(name: str) -> str:
    """Return a name of a machine as all of its ways of being written are compared; Kubernetes, for one, has no `_`."""
    return name.strip().lower().replace("-", "_")


@functools.lru_cache(maxsize=8)
def _index(catalogue: Catalogue) -> Mapping[str, InstanceType]:
    """Return types by every spelling. Nicknames and cloud names come before spellings by the machine's memory."""
    index: dict[str, InstanceType] = {}
    for spelling in range(3):
        for kind in catalogue.types:
            names = (kind.name, kind.cloud, *kind.spellings[-1:])
            if names[spelling]:
                index.setdefault(normal(names[spelling]), kind)
    return index


def _distance(kind: InstanceType, like: InstanceType) -> tuple[bool, bool, int, float]:
    other_model, other_memory = kind.accelerator != like.accelerator, kind.gpu_memory_gb != like.gpu_memory_gb
    size = kind.gpus if like.gpus else abs(kind.cpus - like.cpus)
    return other_model, other_memory, size, kind.on_demand


def _entries(text: str, origin: str) -> Iterable[tuple[str, str, dict[str, object]]]:
    """Yield (provider, name, fields) of every line."""
    for provider, machines in parse_toml(text, origin).items():
        if not isinstance(machines, dict):
            raise InvalidValue(f'{origin}: {provider} is no table of machines, such as [{provider}] "name" = {{ … }}')
        for name, fields in cast("dict[str, object]", machines).items():
            if not isinstance(fields, dict):
                raise InvalidValue(f"{origin}: {provider}.{name} must be a table of fields")
            if normal(name) == LOCAL:
                raise InvalidValue(f"{origin}: {LOCAL!r} always means the computer at hand")
            yield provider, name, cast("dict[str, object]", fields)


_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "cpus": (int,),
    "memory_gb": (int, float),
    "gpus": (int,),
    "accelerator": (str,),
    "gpu_memory_gb": (int,),
    "on_demand": (int, float),
    "spot": (int, float),
}


def _instance_type(
    name: str, fields: dict[str, object], base: InstanceType | None, provider: str, origin: str
) -> InstanceType:
    """Return the machine that the fields describe; the nickname follows from the others unless it is given."""
    for field, value in fields.items():
        if field not in _KINDS:
            raise InvalidValue(f"{origin}: {name}: unknown field {field!r}; known are {', '.join(_KINDS)}")
        if not isinstance(value, _KINDS[field]) or isinstance(value, bool):
            raise InvalidValue(f"{origin}: {name}: {field} = {value!r} is no {_KINDS[field][-1].__name__}")
    missing = [] if base is not None else [f for f in ("cpus", "memory_gb", "on_demand") if f not in fields]
    if missing:
        raise InvalidValue(f"{origin}: {name}: {', '.join(missing)} missing (needed for a machine that is new)")
    values = cast("dict[str, object]", dataclasses.asdict(base)) if base is not None else {"provider": provider}
    values |= {"cloud": base.cloud if base is not None else name, **fields}
    if "name" not in fields:
        values["name"] = _nickname(values)
    if provider == _GENERIC or normal(str(values["cloud"])) == normal(str(values["name"])):
        values["cloud"] = ""
    return InstanceType(**values)  # pyright: ignore[reportArgumentType] - kinds were checked above


def _nickname(values: Mapping[str, object]) -> str:
    if values.get("gpus"):
        return f"{values['gpus']}_{str(values.get('accelerator', '')).lower()}_{values.get('gpu_memory_gb', 0)}gb"
    return f"{values['cpus']}_cpu_{values['memory_gb']:g}gb"
