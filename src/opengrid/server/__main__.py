"""`python -m opengrid.server`: the server in the foreground. The command line starts it detached."""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
from pathlib import Path
from types import FrameType

gc.disable()  # until we serve: what imports make is never garbage, and looking for it takes a sixth of their time

import structlog  # noqa: E402
import uvicorn  # noqa: E402

from opengrid.core.errors import GridError, Unusable  # noqa: E402
from opengrid.server.app import Server, now_us  # noqa: E402
from opengrid.server.keys import ensure_token  # noqa: E402
from opengrid.server.settings import Settings, check_certificate, ensure_folders, read_settings  # noqa: E402
from opengrid.store.database import Database  # noqa: E402


def main() -> int:
    """Serve until told to stop; foreseen errors are two lines on stderr and exit code 2."""
    parser = argparse.ArgumentParser(prog="python -m opengrid.server")
    parser.add_argument("--home")
    parser.add_argument("--listen")
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--public-url")
    arguments = parser.parse_args()
    configure_log()
    try:
        serve(read_settings(os.environ, **vars(arguments)))
    except GridError as error:
        print(f"grid: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    return 0


def configure_log() -> None:
    """Write lines to stderr, and tracebacks without the values of variables: a request's hold tokens."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def serve(settings: Settings) -> None:
    """Open the store, bind the address, and serve until SIGTERM, SIGINT or a request to stop."""
    check_certificate(settings)
    ensure_folders(settings)
    database = Database.open(settings.database or f"sqlite:///{settings.state / 'grid.db'}")
    with contextlib.closing(database), database.hold():
        ensure_token(settings, database, now_us=now_us)
        listener = _bind(settings)
        port = listener.getsockname()[1]
        url = f"{settings.scheme}://{_reachable(settings.host)}:{port}"
        server = Server(settings, database, url, stop=lambda: os.kill(os.getpid(), signal.SIGTERM))
        gc.freeze()
        gc.enable()
        _Uvicorn(
            uvicorn.Config(
                server.app,
                log_config=None,
                access_log=False,
                timeout_graceful_shutdown=3,
                timeout_keep_alive=120,  # agents and followers keep their connections between calls
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            ),
            server,
        ).run(sockets=[listener])


class _Uvicorn(uvicorn.Server):
    """Lets long polls go before connections are waited for."""

    def __init__(self, config: uvicorn.Config, server: Server) -> None:
        super().__init__(config)
        self._grid = server

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._grid.begin_shutdown()
        super().handle_exit(sig, frame)


def _bind(settings: Settings) -> socket.socket:
    """Listen on the asked port; an embedded server takes its former port again, or any free one when it is taken."""
    remembered = settings.state / "port"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    wanted = [settings.port] if settings.port is not None else [*_read_port(remembered), 0]
    for port in wanted:
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, port))
            listener.listen(1024)
        except OSError as error:
            listener.close()
            if port == wanted[-1]:
                raise Unusable(
                    f"cannot listen on {settings.host}:{port}: {error.strerror}",
                    hint="another program has that port, or the address is not this host's: choose another --listen",
                ) from error
            continue
        if settings.port is None:
            remembered.write_text(str(listener.getsockname()[1]))
        return listener
    raise AssertionError("unreachable")


def _reachable(host: str) -> str:
    """Return a host as it stands in a URL; a server that listens everywhere is called by its computer's name."""
    if host in ("0.0.0.0", "::"):  # noqa: S104 - compared with, not listened on
        host = socket.gethostname()
        try:
            socket.getaddrinfo(host, None)
        except OSError:  # a name that not even this computer knows
            host = "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _read_port(path: Path) -> list[int]:
    try:
        return [int(path.read_text())]
    except (OSError, ValueError):
        return []


if __name__ == "__main__":
    sys.exit(main())
