"""Facts → the next move of an attempt, and the desired state of its machines. Pure; the controller applies it."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from opengrid.core.protocol import Desired, Phase, Rehearsal, Stop
from opengrid.core.records.attempts import (
    Attempt,
    AttemptMachine,
    AttemptState,
    GenerationPhase,
    MachineState,
    RankExit,
)
from opengrid.planning.recovery import Again, GiveUp, Later, Past, after_failure, may_try_again

#: After the first failure the other ranks have this long to die by themselves and write their errors.
#: (Neighbours of a killed gloo rank die within 30 ms; ranks busy elsewhere never notice.)
SETTLE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What changes about an attempt."""

    reason: str
    to: AttemptState | None = None
    changes: dict[str, object] = field(default_factory=dict[str, object])  #: other fields of the attempt
    lost: tuple[int, ...] = ()  #: machines whose loss is a fact from now on
    replace: tuple[int, ...] = ()  #: machines that are started anew


def decide(
    attempt: Attempt,
    machines: Sequence[AttemptMachine],
    exits: Sequence[RankExit],
    *,
    lost: Collection[int],
    stop_reason: str | None,
    past: Past,
    now_us: int,
) -> Move | Later | None:
    """Return the next move of an attempt, or None while it has nothing to do but wait.

    `exits` are those of the current generation; `lost` the machines that the engine says are gone.
    """
    alive = [m for m in machines if m.index not in lost and m.state is not MachineState.LOST]
    if attempt.state in (AttemptState.SUBMITTED, AttemptState.ASSEMBLING):
        return _assemble(attempt, machines, alive, stop_reason, past)
    if attempt.state is AttemptState.RUNNING and attempt.phase is GenerationPhase.ENDED:
        return _follow(attempt, machines, stop_reason, past, now_us)
    if attempt.state is AttemptState.RUNNING:
        return _drive(attempt, machines, alive, exits, stop_reason, past, now_us)
    if attempt.state is AttemptState.ENDING and all(m.state is MachineState.RELEASED for m in alive):
        return Move(to=AttemptState(attempt.outcome or "failed"), reason=attempt.reason)
    return None


def _assemble(
    attempt: Attempt,
    machines: Sequence[AttemptMachine],
    alive: Sequence[AttemptMachine],
    stop_reason: str | None,
    past: Past,
) -> Move | None:
    present = [m for m in alive if m.state is MachineState.PRESENT]
    if stop_reason is not None:
        return _end("stopped", stop_reason)
    broken = next((m for m in machines if m.broken), None)
    if broken is not None:
        outcome = "lost" if broken.is_retryable and may_try_again(past) else "failed"
        return _end(outcome, _broken(broken))
    if len(alive) < len(machines):
        outcome = "lost" if may_try_again(past) else "failed"
        return _end(outcome, _gone(machines, alive) + " before all agents had said hello")
    if any(m.preempted for m in machines):
        return _end("preempted", _preempted(machines))
    if len(present) == len(machines):
        return Move(
            to=AttemptState.RUNNING,
            changes={"generation": 1, "phase": GenerationPhase.PREPARING},
            reason=f"all {len(machines)} agents are here" if len(machines) > 1 else "its agent is here",
        )
    if present and attempt.state is AttemptState.SUBMITTED:
        return Move(to=AttemptState.ASSEMBLING, reason=f"{len(present)} of {len(machines)} agents said hello")
    return None


def _drive(
    attempt: Attempt,
    machines: Sequence[AttemptMachine],
    alive: Sequence[AttemptMachine],
    exits: Sequence[RankExit],
    stop_reason: str | None,
    past: Past,
    now_us: int,
) -> Move | None:
    generation, phase = attempt.generation, attempt.phase
    ended = all(m.ended >= generation for m in alive)
    if phase is GenerationPhase.STOPPING:
        return _over(attempt.outcome or "failed", attempt.reason, machines, alive) if ended else None
    trouble = _trouble(generation, machines, alive, exits, stop_reason)
    if phase is GenerationPhase.RUNNING:
        if trouble is not None:
            outcome, reason = trouble
            return Move(changes={"phase": GenerationPhase.STOPPING, "outcome": outcome}, reason=reason)
        return _end("succeeded", "all ranks exited with 0", GenerationPhase.ENDED) if ended else None
    if trouble is not None:
        return _over(*trouble, machines, alive)
    waiting = next((m.index for m in alive if m.state is MachineState.WAITING), None)
    if waiting is not None and now_us - past.generations[-1].created_us > past.replace_s * 1e6:
        reason = f"machine {waiting} was not replaced within {past.replace_s:g} s"
        return _end("lost", reason, GenerationPhase.ENDED)
    if phase is GenerationPhase.PREPARING and all(m.prepared >= generation for m in alive):
        # Only what was started before can have left a checkpoint.
        if generation == 1 and attempt.number == 1:
            return _run(machines, "all machines are prepared")
        return Move(changes={"phase": GenerationPhase.RESTORING}, reason="all machines are prepared")
    if phase is GenerationPhase.RESTORING:
        restore = past.generations[-1].restore
        if restore is None or not (restore.files or restore.aside):
            return _run(machines, "no checkpoint to go on from: ranks start from the beginning")
        if all(m.restored >= generation for m in alive):
            return _run(machines, f"goes on from {restore.checkpoint}" if restore.checkpoint else "files are put back")
    return None


def _run(machines: Sequence[AttemptMachine], reason: str) -> Move:
    return Move(
        changes={
            "phase": GenerationPhase.RUNNING,
            "store_address": machines[0].address,
            "store_port": machines[0].store_port,
        },
        reason=reason,
    )


def _follow(
    attempt: Attempt, machines: Sequence[AttemptMachine], stop_reason: str | None, past: Past, now_us: int
) -> Move | Later:
    """Return what comes after a generation that failed or was taken away."""
    if stop_reason is not None:
        return _end("stopped", stop_reason)
    if attempt.outcome in ("stopped", "preempted"):
        return _end(attempt.outcome, attempt.reason)
    if past.is_new_boot:
        reason = "this computer was restarted while it ran"
        return _end("lost", reason) if past.auto_resume else _end("failed", f"{reason}, and without --auto_resume")
    step = after_failure(past, attempt.outcome or "failed", now_us)
    if isinstance(step, Again) and past.is_over:
        return _end("lost", f"{step.reason}; the cluster let go of all its machines, so it is queued again")
    if isinstance(step, Again):
        return Move(
            changes={
                "generation": attempt.generation + 1,
                "phase": GenerationPhase.PREPARING,
                "outcome": None,
                "store_address": None,
                "store_port": None,
            },
            reason=step.reason,
            replace=tuple(m.index for m in machines if m.state is MachineState.LOST),
        )
    return _end("failed", step.reason) if isinstance(step, GiveUp) else step


def _trouble(
    generation: int,
    machines: Sequence[AttemptMachine],
    alive: Sequence[AttemptMachine],
    exits: Sequence[RankExit],
    stop_reason: str | None,
) -> tuple[str, str] | None:
    """Return (outcome, reason) when the generation cannot go on. The user's word comes before failures it may cause."""
    if stop_reason is not None:
        return "stopped", stop_reason
    if any(m.preempted for m in machines):
        return "preempted", _preempted(machines)
    broken = next((m for m in machines if m.broken and m.ended >= generation), None)  # else it was an earlier one
    if broken is not None and not broken.is_retryable:
        return "failed", _broken(broken)
    if len(alive) < len(machines):  # what it was told before it went says more than that it went
        return "lost", _gone(machines, alive) if broken is None else _broken(broken)
    failed = sorted((e for e in exits if e.exit_code != 0), key=lambda e: e.at_ns)
    if failed:
        return "failed", f"rank {failed[0].rank} {describe_exit(failed[0].exit_code)}"
    return ("lost", _broken(broken)) if broken is not None else None


def _over(outcome: str, reason: str, machines: Sequence[AttemptMachine], alive: Sequence[AttemptMachine]) -> Move:
    """Return the end of a generation: of the whole attempt too, when nothing can follow."""
    if outcome == "stopped":
        return _end(outcome, reason, GenerationPhase.ENDED)
    here = {m.index for m in alive}
    lost = tuple(m.index for m in machines if m.index not in here)
    lost_by_itself = lost and outcome != "preempted"
    changes: dict[str, object] = {"phase": GenerationPhase.ENDED, "outcome": "lost" if lost_by_itself else outcome}
    return Move(changes=changes, reason=reason, lost=lost)


def _broken(machine: AttemptMachine) -> str:
    return f"machine {machine.index}: {machine.broken}"


def _preempted(machines: Sequence[AttemptMachine]) -> str:
    return f"machine {next(m.index for m in machines if m.preempted)} is being taken away"


def describe_exit(exit_code: int) -> str:
    """Return `exited with code 3`, or `was killed by SIGKILL` for -9."""
    if exit_code >= 0:
        return f"exited with code {exit_code}"
    return f"was killed by {signal_name(-exit_code)}"


def signal_name(number: int) -> str:
    """Return the name of a signal, `signal 40` for those without one."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _end(outcome: str, reason: str, phase: GenerationPhase | None = None) -> Move:
    changes: dict[str, object] = {"outcome": outcome, **({"phase": phase} if phase is not None else {})}
    return Move(to=AttemptState.ENDING, changes=changes, reason=reason)


def _gone(machines: Sequence[AttemptMachine], alive: Sequence[AttemptMachine]) -> str:
    here = {m.index for m in alive}
    gone = [str(m.index) for m in machines if m.index not in here]
    return (
        f"the agent of machine {gone[0]} died" if len(gone) == 1 else f"the agents of machines {', '.join(gone)} died"
    )


def desired_state(
    attempt: Attempt,
    *,
    grace_s: float,
    flush_interval_s: float,
    now_ns: int,
    stacks: int = 0,
    rehearsals: tuple[Rehearsal, ...] = (),
) -> Desired:
    """Return what every machine of an attempt shall be doing now."""
    phase, stop = Phase.WAIT, None
    if attempt.state is AttemptState.ENDING or attempt.state.is_terminal:
        phase = Phase.RELEASED
    elif attempt.state is AttemptState.RUNNING:
        phase = {
            GenerationPhase.PREPARING: Phase.PREPARE,
            GenerationPhase.RESTORING: Phase.RESTORE,
            GenerationPhase.RUNNING: Phase.RUN,
            GenerationPhase.STOPPING: Phase.STOP,
            GenerationPhase.ENDED: Phase.WAIT,
        }[attempt.phase]
    if phase is Phase.STOP:
        # Peers of a dead rank that are asked to end would wait for it: SIGTERM is for ranks that are all well.
        all_well = attempt.outcome in ("stopped", "preempted")
        stop = Stop(terminate=all_well, grace_s=grace_s if all_well else SETTLE_S)
    return Desired(
        version=attempt.version,
        generation=attempt.generation,
        phase=phase,
        store_address=attempt.store_address,
        store_port=attempt.store_port,
        stop=stop,
        flush_interval_s=flush_interval_s,
        stacks=stacks,
        rehearsals=rehearsals,
        now_ns=now_ns,
    )
