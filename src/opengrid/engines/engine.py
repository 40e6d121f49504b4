"""The seam between the controller and whatever starts gangs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from opengrid.core.errors import GridError, NotFound
from opengrid.core.gang import Bundle, Gang
from opengrid.core.protocol import Ticket
from opengrid.planning.fleet import Fleet
from opengrid.planning.inventory import Interpreter, Inventory


@dataclass(frozen=True, slots=True, kw_only=True)
class GangRequest:
    """What the controller asks an engine to start: one agent per machine, all or none."""

    attempt_id: str
    gang: Gang
    devices: tuple[tuple[tuple[str, ...], ...], ...]  #: per machine, per node: GPU UUIDs; empty when simulated
    bundles: tuple[Bundle, ...]  #: what each machine takes of a cluster's
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentProcess:
    """One agent as the engine will start it."""

    machine: int
    ticket: Ticket
    devices: tuple[str, ...]  #: GPUs it holds
    bundle: Bundle  #: what the engine reserves for it, where it does not go by devices


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """A rendered gang: a value that tests compare and that submit() carries out."""

    attempt_id: str
    agents: tuple[AgentProcess, ...]


class NoCapacity(Exception):
    """What was free when the gang was admitted has been taken by somebody else; it goes back to the queue."""


class EngineAway(GridError):
    """The engine does not answer at the moment; what was asked for is to be tried again."""

    code = "engine_away"
    status = 503


class Engine(Protocol):
    """Starts, finds and ends agents. Signals, policy and logs go through the agents themselves."""

    name: str

    def inventory(self) -> Inventory | Fleet:
        """Return what this engine's machines offer at this moment: one computer, or the machines of a cluster."""
        ...

    def interpreter(self, python: str, shell: dict[str, str]) -> Interpreter:
        """Return what an interpreter has installed; raise Unusable when it does not run."""
        ...

    def render(self, request: GangRequest) -> Submission:
        """Return the submission of a gang. Pure."""
        ...

    def submit(self, submission: Submission) -> None:
        """Start the agents. Idempotent by attempt; raises NoCapacity or EngineAway, having started none.

        Agents of an attempt that was submitted before are started anew where the former ones are gone.
        """
        ...

    def gone(self, attempts: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
        """For each (attempt id, number of machines) return the machines whose agent is certainly gone."""
        ...

    def is_new_boot(self, attempt_id: str) -> bool:
        """Return whether the agents of an attempt went because their computer was restarted."""
        ...

    def is_over(self, attempt_id: str) -> bool:
        """Return whether an attempt can get no more agents, such as after the loss of a cluster's head."""
        ...

    def cannot_start(self, attempt_id: str) -> bool:
        """Return whether what starts the agents of an attempt cannot run, so that another attempt would end alike."""
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


class Engines:
    """The engines of all clusters, by the cluster's name."""

    def __init__(self, local: Engine) -> None:
        self._engines: dict[str, Engine] = {"local": local}

    def of(self, cluster: str) -> Engine:
        """Return a cluster's engine; NotFound when there is no such cluster."""
        found = self._engines.get(cluster)
        if found is None:
            names = ", ".join(sorted(self._engines))
            raise NotFound(f"there is no cluster {cluster!r}", hint=f"there are: {names}", field="cluster")
        return found

    def add(self, cluster: str, engine: Engine) -> None:
        """Take in the engine of a cluster."""
        self._engines[cluster] = engine

    def remove(self, cluster: str) -> None:
        """Forget a cluster's engine, closed; none is nothing to do."""
        engine = self._engines.pop(cluster, None)
        if engine is not None:
            engine.close()

    def close(self) -> None:
        """Stop watching all. Agents go on."""
        for engine in self._engines.values():
            engine.close()
