"""What a cluster's autoscaler tells of itself: which machines it starts, and why it could not start some. Pure."""

# It reads foreign documents, which leave much unknown.
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Scaling:
    """What an autoscaler is doing; nothing where there is none."""

    starting: Mapping[str, int] = field(default_factory=dict[str, int])  #: machines by their type
    failed: str = ""  #: the last machine type that could not be started, and why

    def in_words(self) -> str:
        """Return `starts 2 of 4_v100_16gb`; "" when it does nothing."""
        if self.starting:
            return "starts " + " and ".join(f"{number} of {kind}" for kind, number in sorted(self.starting.items()))
        return f"could not start {self.failed}" if self.failed else ""


def of_status(status: Mapping[str, Any]) -> Scaling:
    """Return what the older autoscaler has written down."""
    report = status.get("autoscaler_report") or {}
    starting = Counter[str](report.get("pending_launches") or {})
    starting.update(kind for _, kind, _ in report.get("pending_nodes") or [])
    records = (report.get("node_availability_summary") or {}).get("node_availabilities") or {}
    failed = [
        f"{kind}: {record['unavailable_node_information'].get('description') or 'it is not available'}"
        for kind, record in sorted(records.items())
        if record.get("unavailable_node_information")
    ]
    return Scaling(starting=dict(starting), failed=next(iter(failed), ""))


def of_answer(answer: Any) -> Scaling:  # noqa: ANN401 - Ray's own class
    """Return what the newer autoscaler answers."""
    starting = Counter[str]()
    for launch in answer.pending_launches:
        starting[launch.ray_node_type_name] += launch.count
    starting.update(node.ray_node_type_name for node in answer.pending_nodes)
    failed = [f"{launch.ray_node_type_name}: {launch.details or 'it failed'}" for launch in answer.failed_launches]
    return Scaling(starting=dict(starting), failed=next(iter(failed), ""))
