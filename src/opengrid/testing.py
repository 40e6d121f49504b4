"""Fakes that stand behind the real seams; they pass the same contract as the real things."""

from __future__ import annotations

from collections.abc import Sequence

from opengrid.core.errors import GridError
from opengrid.core.protocol import Ticket
from opengrid.engines.engine import AgentProcess, EngineAway, GangRequest, NoCapacity, Submission
from opengrid.planning.fleet import Fleet
from opengrid.planning.inventory import Interpreter, Inventory


class FakeClock:
    """A clock that goes on when told to; seconds."""

    def __init__(self, now: float = 1_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Return the time."""
        return self.now

    def step(self, seconds: float) -> None:
        """Go on by some seconds."""
        self.now += seconds


class FakeEngine:
    """An engine whose agents are whoever the test plays: it remembers submissions and which machines it lost."""

    name = "fake"

    def __init__(self, inventory: Inventory | Fleet, interpreter: Interpreter) -> None:
        self.offered, self.python = inventory, interpreter
        self.submitted: dict[str, Submission] = {}
        self.submits: list[str] = []  #: every call, repeats too
        self.newest = Submission(attempt_id="", agents=())
        self.cancelled: list[str] = []
        self.refuses_to_cancel: GridError | None = None
        self.lost: dict[str, set[int]] = {}
        self.taken: set[str] = set()  #: GPUs that somebody else took since they were offered
        self.is_rebooted = False
        self.is_away = False  #: answer nothing, as a cluster whose head is out of reach
        self.over: set[str] = set()  #: attempts that can get no more agents
        self.hopeless: set[str] = set()  #: attempts whose agents nobody could start, however often
        self.dies_after_submit = False  #: raise, as if the server were killed between engine and store

    def inventory(self) -> Inventory | Fleet:
        """Return what the test set."""
        return self.offered

    def interpreter(self, python: str, shell: dict[str, str]) -> Interpreter:
        """Return what the test set."""
        return self.python

    def render(self, request: GangRequest) -> Submission:
        """Return one agent per machine."""
        return Submission(
            attempt_id=request.attempt_id,
            agents=tuple(
                AgentProcess(
                    machine=machine,
                    ticket=Ticket(
                        attempt_id=request.attempt_id, machine=machine, token=request.token, url="", state_dir=""
                    ),
                    devices=tuple(uuid for node in request.devices[machine] for uuid in node),
                    bundle=request.bundles[machine],
                )
                for machine in range(request.gang.machines)
            ),
        )

    def submit(self, submission: Submission) -> None:
        """Remember a submission; NoCapacity when the test took one of its GPUs."""
        if self.is_away:
            raise EngineAway("the cluster does not answer")
        self.submits.append(submission.attempt_id)
        self.newest = submission
        for agent in submission.agents:
            for uuid in agent.devices:
                if uuid in self.taken:
                    raise NoCapacity(f"GPU {uuid} has just been taken")
        lost = self.lost.get(submission.attempt_id, set())
        lost -= {agent.machine for agent in submission.agents}
        self.submitted.setdefault(submission.attempt_id, submission)
        if self.dies_after_submit:
            raise RuntimeError("killed")

    def gone(self, attempts: Sequence[tuple[str, int]]) -> dict[str, frozenset[int]]:
        """Return the machines that the test lost, and all of those that were never submitted."""
        return {
            attempt: frozenset(self.lost.get(attempt, set()) if attempt in self.submitted else range(machines))
            for attempt, machines in attempts
        }

    def is_new_boot(self, attempt_id: str) -> bool:
        """Return what the test set."""
        return self.is_rebooted

    def is_over(self, attempt_id: str) -> bool:
        """Return what the test set."""
        return attempt_id in self.over

    def cannot_start(self, attempt_id: str) -> bool:
        """Return what the test set."""
        return attempt_id in self.hopeless

    def last_words(self, attempt_id: str, machine: int) -> str:
        """Return what the test would say."""
        return "ImportError: no module named opengrid"

    def cancel(self, attempt_id: str, machines: int) -> None:
        """Lose all machines."""
        if self.refuses_to_cancel is not None:
            raise self.refuses_to_cancel
        self.cancelled.append(attempt_id)
        self.lost[attempt_id] = set(range(machines))

    def forget(self, attempt_id: str) -> None:
        """Drop an attempt."""
        self.submitted.pop(attempt_id, None)

    def close(self) -> None:
        """Do nothing."""
