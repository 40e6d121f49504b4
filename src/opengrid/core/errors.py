"""Every error that OpenGrid foresees.

GridError                    something failed                         exit 1, HTTP 500
├── UserError                the request must change                  exit 2, HTTP 422
│   ├── InvalidValue         a value is malformed (also a ValueError)
│   ├── UnknownInstanceType  no such type in the catalogue
│   ├── Unplannable          no layout satisfies the request
│   ├── NotFound             a name that does not exist               HTTP 404
│   ├── Conflict             a name taken, a thing in use             HTTP 409
│   ├── Unauthorized         no valid token                           HTTP 401
│   ├── Forbidden            a valid token, the wrong thing           HTTP 403
│   └── Unusable             this host or folder cannot be used       HTTP 507
│       └── DataChanged      a datastore is not what it was made of
├── Superseded               a newer attempt or generation exists     HTTP 410
└── ServerUnreachable        no server answers                        HTTP 503
"""

from __future__ import annotations

from typing import ClassVar, cast


class GridError(Exception):
    """Something failed; the message says what, with which value, and the hint what to do next."""

    code: ClassVar[str] = "failed"
    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str | None = None, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field  #: the argument or JSON field at fault, where there is one

    def to_wire(self) -> dict[str, dict[str, str | None]]:
        """Return the JSON document that the API and `-o json` print for this error."""
        return {"error": {"code": self.code, "message": self.message, "hint": self.hint}}


class UserError(GridError):
    """The request cannot be met as it stands; the user must change it."""

    code = "invalid_request"
    status = 422
    exit_code = 2


class InvalidValue(UserError, ValueError):
    """A value is malformed."""

    code = "invalid_value"


class UnknownInstanceType(UserError):
    """The catalogue has no such instance type."""

    code = "unknown_instance_type"


class Unplannable(UserError):
    """No layout on the machines at hand satisfies the request."""

    code = "unplannable"


class NotFound(UserError):
    """Nothing has this name."""

    code = "not_found"
    status = 404


class Conflict(UserError):
    """The name is taken, or the thing is in use or in the wrong state."""

    code = "conflict"
    status = 409


class Unauthorized(UserError):
    """The token is missing, unknown or expired."""

    code = "unauthorized"
    status = 401


class Forbidden(UserError):
    """The token is valid, but not for this."""

    code = "forbidden"
    status = 403


class Unusable(UserError):
    """This host, folder, disk, port or interpreter cannot be used."""

    code = "unusable"
    status = 507


class DataChanged(Unusable):
    """A datastore version is not any more what it was made of: nothing may run on it."""

    code = "data_changed"


class Superseded(GridError):
    """The sender belongs to an attempt or generation that is over; it must end its ranks."""

    code = "superseded"
    status = 410


class ServerUnreachable(GridError):
    """No server answers where one is expected."""

    code = "server_unreachable"
    status = 503


def error_from_wire(status: int, document: object) -> GridError:
    """Rebuild the error that a server answered with; an unknown code becomes a plain error of the status's class."""
    body = _mapping(_mapping(document).get("error"))
    if not body:
        return GridError(f"the server answered HTTP {status}")
    message, hint = str(body.get("message", "")), body.get("hint")
    kind = _BY_CODE.get(str(body.get("code")), UserError if 400 <= status < 500 else GridError)
    return kind(message, hint=_text(hint), field=_text(body.get("field")))


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _mapping(document: object) -> dict[str, object]:
    return cast("dict[str, object]", document) if isinstance(document, dict) else {}


def _all_kinds(kind: type[GridError]) -> list[type[GridError]]:
    return [kind, *(below for child in kind.__subclasses__() for below in _all_kinds(child))]


_BY_CODE: dict[str, type[GridError]] = {kind.code: kind for kind in _all_kinds(GridError)}
