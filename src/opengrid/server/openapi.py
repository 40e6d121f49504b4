"""`python -m opengrid.server.openapi`: the user API's OpenAPI document, from which the page's types are generated."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any, cast

from pydantic import TypeAdapter

from opengrid.server.app import Server
from opengrid.server.settings import Settings
from opengrid.services.documents.errors import ErrorDocument
from opengrid.store.database import Database

#: Where a schema stands in the document.
_SCHEMAS = "#/components/schemas/"


def user_api() -> dict[str, Any]:
    """Return the OpenAPI document of /api/v1. Serves nothing, and leaves nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        database = Database.open(f"sqlite:///{home / 'grid.db'}")
        try:
            settings = Settings(home=home, state=home, cache=home / "cache")
            server = Server(settings, database, "http://127.0.0.1", stop=lambda: None)
            document = server.app.openapi()
            server.close()
        finally:
            database.close()
    document["info"] = {"title": "OpenGrid", "version": "1"}  # it changes with the API, not with every release
    document["paths"] = {path: found for path, found in document["paths"].items() if path.startswith("/api/")}
    error = TypeAdapter(ErrorDocument).json_schema(ref_template=_SCHEMAS + "{model}")
    document["components"]["schemas"] |= {**error.pop("$defs"), "ErrorDocument": error}
    failed = {"$ref": f"{_SCHEMAS}ErrorDocument"}
    for operations in document["paths"].values():
        for operation in operations.values():
            operation["responses"].pop("422", None)  # ours is `default`, as every error is
            operation["responses"]["default"] = {
                "description": "What is no success",
                "content": {"application/json": {"schema": failed}},
            }
    return _reachable(document)


def as_text(document: dict[str, Any]) -> str:
    """Return the document as it is kept in a file."""
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def _reachable(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document without schemas that no path needs, such as those of the agents' API."""
    schemas: dict[str, Any] = document["components"]["schemas"]
    needed: set[str] = set()
    found = _references(document["paths"])
    while found:
        needed |= found
        found = {name for one in found for name in _references(schemas[one])} - needed
    return {**document, "components": {"schemas": {name: schemas[name] for name in sorted(needed)}}}


def _references(part: Any) -> set[str]:  # noqa: ANN401 - JSON
    if isinstance(part, dict):
        inside = cast("dict[str, Any]", part)
        here = {str(inside["$ref"]).rpartition("/")[2]} if "$ref" in inside else set[str]()
        return here.union(*(_references(value) for value in inside.values()))
    if isinstance(part, list):
        return set[str]().union(*(_references(value) for value in cast("list[Any]", part)))
    return set()


if __name__ == "__main__":
    sys.stdout.write(as_text(user_api()))
