"""The user API's document, and the types of the page and of the client, which are made from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from opengrid.server.openapi import as_text, user_api
from opengrid.server.typed_dicts import typed_dicts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def document() -> dict[str, object]:
    return user_api()


def test_the_kept_document_is_that_of_the_code(document: dict) -> None:
    assert (ROOT / "ui/openapi.json").read_text() == as_text(document), "`make api-types` makes it anew"


def test_the_clients_documents_are_the_servers(document: dict) -> None:
    kept = (ROOT / "src/opengrid/client/documents.py").read_text()
    assert kept == typed_dicts(document), "`make api-types` makes them anew"


def test_it_has_the_user_api_alone_with_types_that_have_names(document: dict) -> None:
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    schemas = document["components"]["schemas"]
    assert schemas["EventDocument"]["properties"].keys() >= {"from", "to", "at"}
    assert "Hello" not in schemas
    assert "HTTPValidationError" not in schemas
    assert all(name.isalnum() for name in schemas), "two classes of one name"
    rows = schemas["RunsDocument"]["properties"]["runs"]["items"]
    assert rows == {"$ref": "#/components/schemas/RunRow"}
    assert set(schemas["RunRow"]["required"]) == set(schemas["RunRow"]["properties"])


def test_every_answer_in_json_is_described(document: dict) -> None:
    answers = {
        f"{method} {path}": answer["content"]["application/json"]["schema"]
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
        for status, answer in operation["responses"].items()
        if status.startswith("2") and "application/json" in answer.get("content", {})
    }
    named = {"$ref", "anyOf"}
    assert [route for route, schema in answers.items() if schema and named.isdisjoint(schema)] == []
