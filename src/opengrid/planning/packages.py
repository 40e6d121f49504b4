"""The packages of an environment as the lines of a requirements file. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from packaging.utils import canonicalize_name

#: Every environment brings these itself.
_TOOLS = frozenset({"pip", "setuptools", "wheel", "opengrid"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """One installed distribution."""

    name: str
    version: str
    url: str | None = None  #: where it was installed from, when not from an index
    commit: str | None = None  #: of the version control that `url` names
    vcs: str | None = None  #: git …


def requirements(packages: Sequence[Package]) -> tuple[str, ...]:
    """Return one line for each package, by name; what only this computer has becomes a comment."""
    lines = {canonicalize_name(p.name): _line(p) for p in packages if canonicalize_name(p.name) not in _TOOLS}
    return tuple(lines[name] for name in sorted(lines))


def _line(package: Package) -> str:
    if package.url is None:
        return f"{package.name}=={package.version}"
    if package.vcs is not None:
        return f"{package.name} @ {package.vcs}+{package.url}" + (f"@{package.commit}" if package.commit else "")
    if package.url.startswith("file:"):
        return f"# {package.name}=={package.version} is installed from {package.url}: other computers do not have it"
    return f"{package.name} @ {package.url}"
