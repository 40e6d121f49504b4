"""What known failures mean, and what to do: the entries of causes.toml. Pure."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from opengrid.core.gang import Gang
from opengrid.planning.toml_data import packaged_text, parse_toml


def find_hint(texts: Sequence[str], exit_code: int, *, gang: Gang, rank: int) -> str | None:
    """Return the hint of the first entry that knows the first of `texts` that is known, else of that exit code's."""
    for text in texts:
        for cause in _causes():
            match = cause.pattern.search(text) if cause.pattern is not None else None
            if match is not None:
                return cause.hint.format(
                    rank=rank,
                    ranks=gang.world_size,
                    nodes=len(gang.nodes),
                    ranks_per_node=gang.ranks_per_node,
                    **{name: value or "" for name, value in match.groupdict().items()},
                )
    return next((cause.hint for cause in _causes() if cause.exit_code == exit_code), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cause:
    """One entry of causes.toml."""

    pattern: re.Pattern[str] | None
    exit_code: int | None
    hint: str


@functools.lru_cache(maxsize=1)
def _causes() -> tuple[_Cause, ...]:
    entries = cast("list[dict[str, object]]", parse_toml(packaged_text("causes.toml"), "causes.toml")["cause"])
    return tuple(
        _Cause(
            pattern=re.compile(cast("str", entry["pattern"])) if "pattern" in entry else None,
            exit_code=cast("int | None", entry.get("exit_code")),
            hint=cast("str", entry["hint"]),
        )
        for entry in entries
    )
