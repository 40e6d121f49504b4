"""What the client says of the server's answers is what the server says of them (ui/openapi.json, made of its code)."""

from __future__ import annotations

import json
import types
import typing
from pathlib import Path
from typing import Any

import pytest

from opengrid.client import documents

SCHEMAS: dict[str, Any] = json.loads((Path(__file__).parents[2] / "ui/openapi.json").read_text())["components"][
    "schemas"
]

#: Documents of the client that the server calls otherwise.
OTHERWISE = {
    "ClusterTemplate": "TemplateDocument",
    "DatastoreUseDocument": "UseRow",
    "ExperimentDocument": "ExperimentRow",  #: in lists; alone it is the server's ExperimentDocument, which has more
    "RequestDocument": "RunRequestDocument",
    "ScalarRow": "ScalarValues",
    "ScalarsDocument": "ExperimentScalars",
    "SecretRow": "SecretDocument",
    "SeriesDocument": "SeriesAnswer",
    "SeriesRow": "SeriesDocument",
    "SignInDocument": "LinkDocument",
    "UserRow": "UserDocument",
}

#: Answers that the server does not describe: their routes return what engines and machines say.
UNDESCRIBED = {
    "CheckedMachine",
    "ClusterDocument",
    "ClusterHost",
    "ClusterLogLine",
    "ClusterLogs",
    "ClusterMachine",
    "ClusterRow",
    "ClusterStart",
    "DeletedDatastoreDocument",
    "FrameDocument",
    "OfferedFileDocument",
    "PossibleMachines",
    "ServerDocument",
    "SilentRankDocument",
    "StackGroupDocument",
    "StacksDocument",
    "StartLine",
    "ThreadDocument",
    "UploadDocument",
    "VerdictDocument",
}

CLIENTS = {
    name: kind for name, kind in vars(documents).items() if typing.is_typeddict(kind) and not name.startswith("_")
}


#: What the client reads as JSON: it knows the class itself.
_AS_JSON = {"RunSpec": "dict[str, object]"}

#: Fields that the client's own answers have otherwise: a dry run makes no run.
_OWN = {("CreatedDocument", "run")}


def _described(name: str) -> dict[str, Any]:
    """Return the server's fields of a document."""
    fields: dict[str, Any] = SCHEMAS[OTHERWISE.get(name, name)]["properties"]
    return {**SCHEMAS[name]["properties"], **fields} if name == "ExperimentDocument" else fields


def _of_schema(schema: dict[str, Any]) -> str:
    """Write a JSON schema as Python would."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return _AS_JSON.get(name, "str" if "enum" in SCHEMAS[name] else name)
    if "anyOf" in schema:
        return " | ".join(sorted(_of_schema(one) for one in schema["anyOf"]))
    kind = schema.get("type")
    if kind == "array" and "prefixItems" in schema:
        return f"tuple[{', '.join(map(_of_schema, schema['prefixItems']))}]"
    if kind == "array":
        return f"list[{_of_schema(schema['items'])}]"
    if kind == "object":
        values = schema["additionalProperties"]
        return f"dict[str, {'object' if values is True else _of_schema(values)}]"
    plain = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
    return plain.get(str(kind), "object")


def _of_type(kind: Any) -> str:
    """Write an annotation of the client's with the server's names."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(sorted(map(_of_type, arguments)))
    if origin in (list, dict, tuple):
        return f"{origin.__name__}[{', '.join(map(_of_type, arguments))}]"
    if kind is type(None):
        return "None"
    return OTHERWISE.get(kind.__name__, kind.__name__)


@pytest.mark.parametrize("name", sorted(CLIENTS.keys() - UNDESCRIBED))
def test_a_document_of_the_client_is_the_servers(name: str) -> None:
    assert OTHERWISE.get(name, name) in SCHEMAS, "the server calls it otherwise, or does not describe it: say so above"
    kind, described = CLIENTS[name], _described(name)
    hints = typing.get_type_hints(kind).items()
    left_out = kind.__optional_keys__ - described.keys()  # what is told of an experiment alone
    said = {field: _of_type(one) for field, one in hints if field not in left_out and (name, field) not in _OWN}
    assert said == {field: _of_schema(described[field]) for field in said}


def test_what_the_server_describes_is_compared() -> None:
    assert UNDESCRIBED.isdisjoint(SCHEMAS), "compare these too"
