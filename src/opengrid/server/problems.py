"""Errors as answers, and what every answer carries."""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable, Collection

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from opengrid import __version__
from opengrid.core.errors import Forbidden, GridError, InvalidValue
from opengrid.services.documents.errors import ErrorDocument, error_text

log = structlog.get_logger(__name__)

#: Headers of what users or their scripts wrote: a browser may show or save it, and do nothing that it says.
HARMLESS = {"Content-Security-Policy": "sandbox; default-src 'none'", "Cache-Control": "private, no-cache"}

#: What a browser may do with an answer that says nothing else: nothing.
_NOTHING = "default-src 'none'; frame-ancestors 'none'"


def install(app: FastAPI) -> None:
    """Make the application answer every error as `{"error": {"code", "message", "hint"}}`."""
    app.add_exception_handler(GridError, _grid_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(UnicodeEncodeError, _no_unicode)
    app.add_exception_handler(Exception, _unforeseen)


def answer(error: GridError) -> JSONResponse:
    """Return the response for an error."""
    return JSONResponse(dataclasses.asdict(ErrorDocument(error=error_text(error))), status_code=error.status)


async def _grid_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, GridError)  # noqa: S101 - the handler's registration
    return answer(error)


async def _validation_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body")
    message = str(first["msg"]).removeprefix("Value error, ")
    return answer(InvalidValue(f"{place}: {message}" if place else message, field=place or None))


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101
    body = {"error": {"code": "http_error", "message": str(error.detail), "hint": None}}
    return JSONResponse(body, status_code=error.status_code)


async def _no_unicode(request: Request, error: Exception) -> JSONResponse:
    # JSON can write half a surrogate pair; Python takes it, and no database or file does.
    log.warning("not Unicode", method=request.method, path=request.url.path, reason=str(error))
    return answer(InvalidValue("a text of the request is not Unicode: it holds half a surrogate pair"))


async def _unforeseen(request: Request, error: Exception) -> JSONResponse:
    log.error("request failed", method=request.method, path=request.url.path, exc_info=error)
    return answer(GridError(f"the server failed: {type(error).__name__}", hint="its log says where: server.log"))


class Envelope:
    """Around every request: the Host must be one of ours (against DNS rebinding); every answer tells our version."""

    def __init__(self, app: ASGIApp, *, hosts: Collection[str], seen: Callable[[], None]) -> None:
        self._app, self._hosts, self._seen = app, frozenset(hosts), seen

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        self._seen()

        async def send_with_version(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Grid-Version"] = __version__
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Referrer-Policy"] = "no-referrer"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Content-Security-Policy", _NOTHING)
            await send(message)

        host = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"host"), "")
        if not self._is_ours(_host_name(host)):
            refusal = answer(Forbidden(f"this server is not called {host!r}", hint="GRID_PUBLIC_URL adds a name"))
            await refusal(scope, receive, send_with_version)
            return
        await self._app(scope, receive, send_with_version)

    def _is_ours(self, name: str) -> bool:
        """Whether a server may be called so: by one of its names, or by an address, which no DNS can rebind."""
        if name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True


def _host_name(host: str) -> str:
    return host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
