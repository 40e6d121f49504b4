"""Which server somebody has signed in to, when it is not their own computer's."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

from opengrid.client.home import Home
from opengrid.core.errors import InvalidValue, Unusable


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A server, and the token that it knows somebody by."""

    url: str
    token: str
    user: str | None = None  #: as the server said when they signed in
    certificate: str | None = None  #: file of the one certificate to trust; None: those that the system trusts


def find_login(environment: Mapping[str, str], home: Home) -> Login | None:
    """Return where commands go: GRID_URL with GRID_TOKEN, else what `grid login` has kept; None = this computer."""
    url = environment.get("GRID_URL")
    if not url:
        return _read(_file(home))
    token = environment.get("GRID_TOKEN")
    if not token:
        raise InvalidValue(f"GRID_URL is {url}, but GRID_TOKEN is not set", hint="set both, or `grid login URL`")
    return Login(url=url, token=token, certificate=environment.get("GRID_CERTIFICATE") or None)


def keep_login(home: Home, login: Login) -> None:
    """Keep it for later commands, for this user's eyes only."""
    path = _file(home)
    try:
        home.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.unlink(missing_ok=True)
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            json.dump(asdict(login), file)
        os.replace(partial, path)
    except OSError as error:
        raise Unusable(f"cannot write {path}: {error.strerror}", hint="set GRID_HOME to a folder of yours") from error


def forget_login(home: Home) -> Login | None:
    """Let later commands use this computer again; return what was kept, where that can be read."""
    try:
        return _read(_file(home))
    except Unusable:
        return None
    finally:
        _file(home).unlink(missing_ok=True)


def _file(home: Home) -> Path:
    return home.root / "login.json"


def _read(path: Path) -> Login | None:
    try:
        said: object = json.loads(path.read_text())
        fields = cast("dict[str, str | None]", said)
        return Login(
            url=str(fields["url"]),
            token=str(fields["token"]),
            user=fields.get("user"),
            certificate=fields.get("certificate"),
        )
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unusable(
            f"cannot read {path}: {error}", hint="`grid logout` removes it, `grid login URL` makes it anew"
        ) from error
