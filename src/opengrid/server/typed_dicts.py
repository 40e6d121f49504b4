"""`python -m opengrid.server.typed_dicts`: the user API's documents as the client's types, client/documents.py."""

from __future__ import annotations

import keyword
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from opengrid.server.openapi import user_api

_HEAD = '''\
"""The documents of the user API as JSON has them: what `-o json` prints is what the server said.

For who checks types only: nothing imports this module when it runs. Every field is there, in answers always.
Made by `make api-types` of the server's classes; changes belong there.
"""

from __future__ import annotations

from typing import Literal, TypedDict
'''

_PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}


def typed_dicts(document: Mapping[str, Any]) -> str:
    """Return a module with a TypedDict for each schema of an OpenAPI document, formatted as the code base is."""
    schemas: Mapping[str, Mapping[str, Any]] = document["components"]["schemas"]
    return "\n\n".join([_HEAD, *(_definition(name, schemas[name]) for name in sorted(schemas))])


def _definition(name: str, schema: Mapping[str, Any]) -> str:
    said = f'"""{schema["description"]}"""'
    if "enum" in schema:
        values = "".join(f'    "{value}",\n' for value in schema["enum"])
        return f"{name} = Literal[\n{values}]\n{said}\n"
    fields = {field: _type(of) for field, of in schema["properties"].items()}
    if any(map(keyword.iskeyword, fields)):  # by call: such a field cannot be declared
        lines = "".join(f'        "{field}": {kind},\n' for field, kind in fields.items())
        return f'{name} = TypedDict(\n    "{name}",\n    {{\n{lines}    }},\n)\n{said}\n'
    lines = "".join(f"    {field}: {kind}\n" for field, kind in fields.items())
    return f"class {name}(TypedDict):\n{textwrap.indent(said, '    ')}\n\n{lines}"


def _type(schema: Mapping[str, Any]) -> str:
    """Return a JSON schema as a Python annotation."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "const" in schema:
        return f'Literal["{schema["const"]}"]'
    if "enum" in schema:
        return "Literal[" + ", ".join(f'"{value}"' for value in schema["enum"]) + "]"
    if "anyOf" in schema:
        return " | ".join(map(_type, schema["anyOf"]))
    if "prefixItems" in schema:
        return f"tuple[{', '.join(map(_type, schema['prefixItems']))}]"
    if schema.get("type") == "array":
        return f"list[{_type(schema['items'])}]"
    if schema.get("type") == "object":
        values = schema["additionalProperties"]
        return f"dict[str, {'object' if values is True else _type(values)}]"
    return _PLAIN[schema["type"]] if "type" in schema else "object"


if __name__ == "__main__":
    sys.stdout.write(typed_dicts(user_api()))
