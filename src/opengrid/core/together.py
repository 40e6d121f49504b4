"""Small contents in one body: a line of JSON, `[[sha256, size], …]`, and then their bytes one after the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate
from typing import cast

from opengrid.core.errors import InvalidValue


def joined(contents: Sequence[tuple[str, bytes]]) -> bytes:
    """Return contents, each with its digest, as one body."""
    head = json.dumps([(digest, len(content)) for digest, content in contents], separators=(",", ":"))
    return b"".join([head.encode(), b"\n", *(content for _, content in contents)])


def divided(body: bytes) -> list[tuple[str, bytes]]:
    """Return the contents of a body, each with its digest, which is not looked at; InvalidValue when it is none."""
    head, line, rest = body.partition(b"\n")
    try:
        sizes = {str(digest): int(size) for digest, size in cast("list[tuple[str, int]]", json.loads(head))}
    except (ValueError, TypeError) as error:
        raise InvalidValue(f"the body does not begin with a line of digests and sizes: {error}") from error
    if not line or min(sizes.values(), default=0) < 0 or sum(sizes.values()) != len(rest):
        raise InvalidValue(f"the body has {len(rest)} bytes of contents, and says {sum(sizes.values())}")
    ends = list(accumulate(sizes.values()))
    return [(digest, rest[end - sizes[digest] : end]) for digest, end in zip(sizes, ends, strict=True)]
