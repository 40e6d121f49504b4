"""Every answer that is no success."""

from __future__ import annotations

from dataclasses import dataclass

from opengrid.core.errors import GridError
from opengrid.services.documents.document import Document


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorText(Document):
    """What happened, with which value, and what to do next."""

    code: str
    message: str
    hint: str | None
    field: str | None  #: of the request, where one is at fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument(Document):
    """Every answer that is no success."""

    error: ErrorText


def error_text(error: GridError) -> ErrorText:
    """Return an error as answers carry it."""
    return ErrorText(code=error.code, message=error.message, hint=error.hint, field=error.field)
