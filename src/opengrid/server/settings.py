"""What the server is told from outside: arguments and environment, read once."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from opengrid.core.errors import InvalidValue, Unusable
from opengrid.core.sizes import parse_size

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: An embedded server ends after this long with nothing queued, running or asked.
IDLE_S = 30 * 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one server."""

    home: Path  #: GRID_HOME: server.json and the user's token
    state: Path  #: GRID_STATE: database, logs, blobs, locks; on a local disk
    cache: Path  #: GRID_CACHE: the agents' zipapps; several homes may share one
    host: str = "127.0.0.1"
    port: int | None = None  #: None = the port it had before, else one that the kernel chooses
    tls_cert: Path | None = None
    tls_key: Path | None = None
    database: str | None = None  #: SQLAlchemy URL; None = SQLite below `state`
    public_url: str | None = None  #: how others reach this server, when not by its address
    idle_s: float = IDLE_S  #: an embedded server ends after this long with nothing to do
    nvml_library: str | None = None
    git_protocols: tuple[str, ...] = ("https", "ssh")  #: over which repositories are fetched
    storage: str | None = None  #: s3://bucket/prefix for all contents; None = folders below `state`
    content_cache: int = 50 << 30  #: most bytes of a bucket's contents that are kept on this host
    least_free: int = 2 << 30  #: bytes of a disk below which nothing new is taken in or started
    source_limit: int = 1 << 30  #: most bytes of a source tree, and of a repository that is fetched
    environment_cache: int = 20 << 30  #: most bytes of environments; those that an active run uses count, and stay
    repository_cache: int = 5 << 30  #: most bytes of fetched repositories
    unused_days: float = 30.0  #: environments and repositories that were not used for so long are removed
    ui: Path | None = None  #: folder of another build of the page than the package's

    @property
    def is_embedded(self) -> bool:
        """Whether this is a user's own loopback server."""
        return self.port is None and self.host in _LOOPBACK

    @property
    def is_loopback(self) -> bool:
        """Whether only this computer reaches this server."""
        return self.host in _LOOPBACK

    @property
    def is_everywhere(self) -> bool:
        """Whether it listens on all addresses of this computer."""
        return self.host in ("0.0.0.0", "::")  # noqa: S104 - compared, not bound

    @property
    def scheme(self) -> str:
        """Http or https."""
        return "https" if self.tls_cert else "http"

    def arguments(self, port: int) -> list[str]:
        """Return what starts this server again at the same address; nothing for an embedded one."""
        if self.is_embedded:
            return []
        host = f"[{self.host}]" if ":" in self.host else self.host
        given = ["--listen", f"{host}:{port}"]
        if self.tls_cert is not None and self.tls_key is not None:
            given += ["--tls-cert", str(self.tls_cert.absolute()), "--tls-key", str(self.tls_key.absolute())]
        elif self.host not in _LOOPBACK:
            given.append("--insecure")
        return [*given, *(["--public-url", self.public_url] if self.public_url else [])]

    @property
    def server_file(self) -> Path:
        """Where a running server says how to reach it."""
        return self.home / "server.json"

    @property
    def token_file(self) -> Path:
        """The user's token, 0600."""
        return self.home / "token"

    @property
    def secret_file(self) -> Path:
        """What agents' tokens are made from, 0600."""
        return self.state / "secret"


def read_settings(
    environment: Mapping[str, str],
    *,
    home: str | None = None,
    listen: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    insecure: bool = False,
    public_url: str | None = None,
) -> Settings:
    """Combine arguments and environment; InvalidValue for what cannot be, Unusable for what must not be."""
    root = Path(home or environment.get("GRID_HOME") or "~/.opengrid").expanduser().absolute()
    state = Path(environment.get("GRID_STATE") or root).expanduser().absolute()
    host, port = _parse_listen(listen) if listen else ("127.0.0.1", None)
    if bool(tls_cert) != bool(tls_key):
        raise InvalidValue("--tls-cert and --tls-key belong together")
    if host not in _LOOPBACK and not tls_cert and not insecure:
        raise Unusable(
            f"--listen {listen} would serve tokens and code unencrypted to other machines",
            hint="give --tls-cert FILE --tls-key FILE, or --insecure on a network that you trust",
        )
    return Settings(
        home=root,
        state=state,
        cache=Path(environment.get("GRID_CACHE") or state / "zipapp").expanduser().absolute(),
        host=host,
        port=port,
        tls_cert=Path(tls_cert) if tls_cert else None,
        tls_key=Path(tls_key) if tls_key else None,
        database=environment.get("GRID_DATABASE"),
        public_url=_public_url(public_url or environment.get("GRID_PUBLIC_URL")),
        idle_s=_number(environment, "GRID_IDLE_S", IDLE_S, "seconds"),
        nvml_library=environment.get("GRID_NVML_LIBRARY"),
        git_protocols=_protocols(environment),
        storage=environment.get("GRID_STORAGE") or None,
        content_cache=parse_size(environment.get("GRID_CONTENT_CACHE") or "50GiB", name="GRID_CONTENT_CACHE"),
        least_free=parse_size(environment.get("GRID_LEAST_FREE") or "2GiB", name="GRID_LEAST_FREE"),
        source_limit=parse_size(environment.get("GRID_SOURCE_LIMIT") or "1GiB", name="GRID_SOURCE_LIMIT"),
        environment_cache=parse_size(
            environment.get("GRID_ENVIRONMENT_CACHE") or "20GiB", name="GRID_ENVIRONMENT_CACHE"
        ),
        repository_cache=parse_size(environment.get("GRID_REPOSITORY_CACHE") or "5GiB", name="GRID_REPOSITORY_CACHE"),
        unused_days=_number(environment, "GRID_UNUSED_DAYS", 30.0, "days"),
        ui=Path(environment["GRID_UI_DIR"]) if environment.get("GRID_UI_DIR") else None,
    )


def _public_url(text: str | None) -> str | None:
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidValue(f"GRID_PUBLIC_URL={text} is no address", hint="such as https://grid.example.org")
    return text.rstrip("/")


def _number(environment: Mapping[str, str], name: str, default: float, unit: str) -> float:
    text = environment.get(name, "")
    try:
        number = float(text) if text else default
    except ValueError:
        number = 0.0
    if not number > 0:
        raise InvalidValue(f"{name}={text} is no length of time", hint=f"a number of {unit}, more than 0")
    return number


def _protocols(environment: Mapping[str, str]) -> tuple[str, ...]:
    names = tuple((environment.get("GRID_GIT_PROTOCOLS") or "https:ssh").split(":"))
    unknown = [name for name in names if name not in ("https", "ssh", "file")]
    if unknown:
        raise InvalidValue(f"GRID_GIT_PROTOCOLS: {unknown[0]!r} is none", hint="https, ssh and file, with `:` between")
    return names


def _parse_listen(text: str) -> tuple[str, int]:
    match = re.fullmatch(r"(?:\[(?P<six>[0-9a-fA-F:]+)\]|(?P<host>[^:\s]+))?:?(?P<port>[0-9]{1,5})?", text)
    if match is None or not text or int(match["port"] or 0) > 65535:
        raise InvalidValue(f"--listen {text!r} is no address", hint="HOST, HOST:PORT or [IPV6]:PORT")
    return match["six"] or match["host"] or "127.0.0.1", int(match["port"] or 8265)


def check_certificate(settings: Settings) -> None:
    """Raise InvalidValue unless the certificate and its key, if there are any, can be served with."""
    certificate, key = settings.tls_cert, settings.tls_key
    if certificate is None or key is None:
        return
    for path, option in ((certificate, "--tls-cert"), (key, "--tls-key")):
        try:
            path.read_bytes()
        except OSError as error:
            raise InvalidValue(f"{option} {path}: {error.strerror}") from error
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, ValueError) as error:
        raise InvalidValue(
            f"--tls-cert {certificate} and --tls-key {key} are no certificate with its key",
            hint="both as PEM: a key without a passphrase, and the certificate before those that signed it",
        ) from error


def ensure_folders(settings: Settings) -> None:
    """Make home and state with mode 0700; Unusable when that cannot be."""
    for folder, variable in ((settings.home, "GRID_HOME"), (settings.state, "GRID_STATE")):
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not os.access(folder, os.W_OK | os.X_OK):
                raise PermissionError(13, "Permission denied")
        except OSError as error:
            raise Unusable(
                f"cannot write to {folder}: {error.strerror}", hint=f"set {variable} to a folder of yours"
            ) from error
