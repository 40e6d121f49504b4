"""uv, which finds out what an interpreter lacks and installs it into a folder: its commands, and what it says."""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path

import uv

#: pip's settings under the names that uv has for them; uv reads neither pip's variables nor its files.
_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}

#: Settings that separate several values by a comma; others by a space.
_COMMA = ("UV_FIND_LINKS",)


def program() -> str:
    """Return the path of uv."""
    return uv.find_uv_bin()


def looking_for_missing(python: str, requirements: str, constraints: str) -> list[str]:
    """Return the command that says what an interpreter lacks of a requirements file; it changes nothing."""
    # The last option is for interpreters that belong to the system, which nothing is installed into here either.
    return [*_install(python), "-r", requirements, "-c", constraints, "--dry-run", "--break-system-packages"]


def packages_to_install(said: str) -> tuple[str, ...]:
    """Return what that command has found missing, each as a line of a requirements file."""
    found = re.findall(r"^ [+~] ([\w.-]+)(==\S+)?(?: \(from (\S+)\)| @ (\S+))?$", said, re.MULTILINE)
    return tuple(f"{name} @ {url or at}" if url or at else f"{name}{version}" for name, version, url, at in found)


def installing(python: str, requirements: str, folder: str) -> list[str]:
    """Return the command that installs exactly what a requirements file names into a folder."""
    return [*_install(python), "-r", requirements, "--no-deps", "--target", folder]


def reason(said: str) -> str:
    """Return why a command failed, in uv's own words."""
    start = re.search(r"^(error:|  ×)", said, re.MULTILINE)
    lines = [re.sub(r"^(?:error:|cause:|hint:|[×╰├│─▶\s]+)\s*", "", line.strip()) for line in said.splitlines()]
    if start is not None:
        lines = lines[said[: start.start()].count("\n") :]
    return " ".join(filter(None, lines))[:2000] or "it failed without a word"


def pip_settings(environment: Mapping[str, str], prefix: Path) -> dict[str, str]:
    """Return uv's variables for what pip's variables and files say; what is said to uv itself wins."""
    home = Path(environment.get("HOME", "/nonexistent"))
    config = Path(environment.get("XDG_CONFIG_HOME") or home / ".config")
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), home / ".pip/pip.conf", config / "pip/pip.conf"]
    named = environment.get("PIP_CONFIG_FILE")
    said = _read_pip_files([*files, prefix / "pip.conf", *([Path(named)] if named else [])])
    found: dict[str, str] = {}
    for name, variable in _SETTINGS.items():
        value = environment.get(f"PIP_{name.upper().replace('-', '_')}") or said.get(name)
        if value and variable not in environment:
            found[variable] = ("," if variable in _COMMA else " ").join(value.split())
    return found


def _read_pip_files(files: list[Path]) -> dict[str, str]:
    said: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read(file, encoding="utf-8")
        except (configparser.Error, UnicodeDecodeError, OSError):
            continue  # pip itself would complain
        for section in ("global", "install"):
            if parser.has_section(section):
                said.update(parser.items(section))
    return said


def _install(python: str) -> list[str]:
    return [program(), "pip", "install", "--python", python, "--color", "never", "--no-progress"]
