"""What all documents have in common."""

from __future__ import annotations

from pydantic import ConfigDict


class Document:
    """A document. What checks and writes it is made when it is first needed: a server starts without all that."""

    __slots__ = ()
    __pydantic_config__ = ConfigDict(defer_build=True)
