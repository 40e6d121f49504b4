"""Stacks of running ranks: who asks for them, and what agents have answered. In memory only: nobody needs old ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from opengrid.core.errors import Conflict
from opengrid.core.gang import Gang
from opengrid.core.protocol import MOST_STACKS_BYTES, RankStacks, Stacks
from opengrid.core.records.attempts import AttemptState, GenerationPhase
from opengrid.core.records.experiments import ExperimentState
from opengrid.planning.stacks import Dump, Frames, Group, group, headline, read_dump
from opengrid.services.agent_memory import AgentIdentity
from opengrid.services.documents.stacks import (
    FrameDocument,
    SilentRankDocument,
    StackGroupDocument,
    StacksDocument,
    ThreadDocument,
)
from opengrid.store.database import Database

#: How long an answer is waited for: what agents give their ranks, and the way there and back.
DEADLINE_S = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One attempt whose ranks can be asked."""

    experiment: str
    attempt_id: str
    gang: Gang
    directory: str  #: where the program starts, inside its tree


@dataclass(slots=True)
class _Request:
    number: int = 0
    askers: int = 0
    answers: dict[int, Stacks] = field(default_factory=dict[int, Stacks])  #: by machine, the newest


class StackRequests:
    """Numbers requests, so that agents know which they have answered; forgets them when nobody waits any more.

    A later request of the same attempt has a higher number, and its answers answer the earlier ones too.
    """

    def __init__(self, database: Database, *, now_us: Callable[[], int]) -> None:
        self._database, self._now_us = database, now_us
        self._requests: dict[str, _Request] = {}
        self._last = 0
        self._lock = threading.Lock()

    def find(self, experiment_name: str) -> Asked:
        """Return whom to ask; Conflict when no rank of the experiment runs."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment(experiment_name)
            run = tx.runs.find_by_id(experiment.run_id)
            attempts = tx.attempts.of_experiment(experiment.id)
        attempt = max(attempts, key=lambda a: a.number, default=None)
        name, state = experiment.name, experiment.state
        if state is not ExperimentState.RUNNING or attempt is None:
            raise Conflict(
                f"{name} is {state.value}: only a running experiment has stacks", hint=f"`grid status {name}` says more"
            )
        if attempt.state is not AttemptState.RUNNING or attempt.phase is not GenerationPhase.RUNNING:
            raise Conflict(f"the ranks of {name} are being started or ended", hint="try again in a moment")
        return Asked(experiment=name, attempt_id=attempt.id, gang=run.plan.gang, directory=run.spec.source.directory)

    @contextmanager
    def asking(self, asked: Asked) -> Generator[int]:
        """Ask while inside; give the request's number."""
        with self._lock:
            # By the clock, so that agents find it new after a restart of the server too.
            number = self._last = max(self._now_us(), self._last + 1)
            request = self._requests.setdefault(asked.attempt_id, _Request())
            request.number, request.askers = number, request.askers + 1
        try:
            yield number
        finally:
            with self._lock:
                request.askers -= 1
                if not request.askers:
                    del self._requests[asked.attempt_id]

    def number(self, attempt_id: str) -> int:
        """Return the number of the newest request that somebody waits for; 0 when nobody does."""
        request = self._requests.get(attempt_id)
        return 0 if request is None else request.number

    def take(self, agent: AgentIdentity, stacks: Stacks) -> None:
        """Keep what an agent has answered, for those who still wait."""
        request = self._requests.get(agent.attempt_id)
        if request is not None:
            request.answers[agent.machine] = stacks

    def answers(self, asked: Asked, number: int) -> dict[int, Stacks]:
        """Return the answers to a request so far, by machine. Inside `asking` only."""
        answers = dict(self._requests[asked.attempt_id].answers)
        return {machine: stacks for machine, stacks in answers.items() if stacks.number >= number}


def stacks_view(asked: Asked, answers: Mapping[int, Stacks]) -> StacksDocument:
    """Return the document of all ranks' stacks: groups of equal ones, and who is silent, and why."""
    dumps: dict[int, Dump] = {}
    silent: list[SilentRankDocument] = []
    for machine in range(asked.gang.machines):
        answer = answers.get(machine)
        told = {} if answer is None else {one.rank: one for one in answer.ranks}
        missing = f"the agent of machine {machine} did not answer within {DEADLINE_S:g} s"
        for place in asked.gang.ranks(machine):
            one = told.get(place.rank) or RankStacks(rank=place.rank, reason=missing)
            # As much as an agent would send: what is longer was not cut by one.
            dump = read_dump(one.text[-MOST_STACKS_BYTES:], folder=one.folder, directory=asked.directory)
            if dump is not None:
                dumps[place.rank] = dump
            else:
                silent.append(SilentRankDocument(rank=place.rank, reason=one.reason or "its answer holds no stack"))
    return StacksDocument(experiment=asked.experiment, groups=[_group_view(one) for one in group(dumps)], silent=silent)


def _group_view(group: Group) -> StackGroupDocument:
    return StackGroupDocument(
        ranks=list(group.ranks),
        top=headline(group.frames),
        frames=_frames_view(group.frames),
        threads=[ThreadDocument(ranks=list(ranks), frames=_frames_view(frames)) for ranks, frames in group.threads],
    )


def _frames_view(frames: Frames) -> list[FrameDocument]:
    return [FrameDocument(file=frame.file, line=frame.line, function=frame.function) for frame in frames]
