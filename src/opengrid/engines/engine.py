"""The seam between the controller and whatever starts gangs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from opengrid.core.gang import Gang
from opengrid.core.protocol import Ticket
from opengrid.planning.inventory import Interpreter, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class GangRequest:
    """What the controller asks an engine to start: one agent per machine, all or none."""

    attempt_id: str
    gang: Gang
    devices: tuple[tuple[tuple[str, ...], ...], ...]  #: per machine, per node: GPU UUIDs; empty when simulated
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentProcess:
    """One agent as the engine will start it."""

    machine: int
    ticket: Ticket
    devices: tuple[str, ...]  #: GPUs it holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A rendered gang: a value that tests compare and that submit() carries out."""

    attempt_id: str
    agents: tuple[AgentProcess, ...]


class NoCapacity(Exception):
    """What was free when the gang was admitted has been taken by somebody else; it goes back to the queue."""


class Engine(Protocol):
    """Starts, finds and ends agents. Signals, policy and logs go through the agents themselves."""

    name: str

    def inventory(self) -> Inventory:
        """Return what this engine's machines offer at this moment."""
        ...

    def interpreter(self, python: str, shell: dict[str, str]) -> Interpreter:
        """Return what an interpreter has installed; raise Unusable when it does not run."""
        ...

    def can_mount(self) -> bool:
        """Return whether ranks on these machines can have mounts of their own."""
        ...

    def render(self, request: GangRequest) -> Submission:
        """Return the submission of a gang. Pure."""
        ...

    def submit(self, submission: Submission) -> None:
        """Start the agents. Idempotent by attempt; raises NoCapacity, having started none."""
        ...

    def gone(self, attempts: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
        """For each (attempt id, number of machines) return the machines whose agent is certainly gone."""
        ...

    def is_new_boot(self, attempt_id: str) -> bool:
        """Return whether the agents of an attempt went because their computer was restarted."""
        ...

    def last_words(self, attempt_id: str, machine: int) -> str:
        """Return the last line that an agent wrote about itself, "" when it wrote none."""
        ...

    def cancel(self, attempt_id: str, machines: int) -> None:
        """End the agents of an attempt and everything they started, at once. Idempotent."""
        ...

    def forget(self, attempt_id: str) -> None:
        """Drop what is remembered of an attempt that has ended."""
        ...

    def close(self) -> None:
        """Stop watching. Agents go on."""
        ...
