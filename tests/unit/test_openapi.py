"""The user API's document, from which the page's types are made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opengrid.server.openapi import as_text, user_api

KEPT = Path(__file__).parents[2] / "ui" / "openapi.json"


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    return json.loads(as_text(user_api()))


def test_the_kept_document_is_that_of_the_code(document: object) -> None:
    assert json.loads(KEPT.read_text()) == document, f"`python -m opengrid.server.openapi > {KEPT}` makes it anew"


def test_it_has_the_user_api_alone_with_types_that_have_names(document: dict) -> None:
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    schemas = document["components"]["schemas"]
    assert schemas["EventDocument"]["properties"].keys() >= {"from", "to", "at"}
    assert "Hello" not in schemas
    assert "HTTPValidationError" not in schemas
    rows = schemas["RunsDocument"]["properties"]["runs"]["items"]
    assert rows == {"$ref": "#/components/schemas/RunRow"}
    assert set(schemas["RunRow"]["required"]) == set(schemas["RunRow"]["properties"])
