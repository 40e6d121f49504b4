"""Facts → the next move of an attempt, and the desired state of its machines. Pure; the controller applies it."""

from __future__ import annotations

import signal
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from opengrid.core.protocol import Desired, Phase, Stop
from opengrid.core.records import Attempt, AttemptMachine, AttemptState, GenerationPhase, MachineState, RankExit

#: After the first failure the other ranks have this long to die by themselves and write their errors.
#: (Neighbours of a killed gloo rank die within 30 ms; ranks busy elsewhere never notice.)
SETTLE_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """What changes about an attempt; None leaves a field as it is."""

    reason: str
    to: AttemptState | None = None
    generation: int | None = None
    phase: GenerationPhase | None = None
    store_address: str | None = None
    store_port: int | None = None
    outcome: str | None = None


def decide(
    attempt: Attempt,
    machines: Sequence[AttemptMachine],
    exits: Sequence[RankExit],
    *,
    lost: Collection[int],
    stop_reason: str | None,
) -> Move | None:
    """Return the next move of an attempt, or None while it has nothing to do but wait.

    `exits` are those of the current generation; `lost` the machines that the engine says are gone.
    """
    alive = [m for m in machines if m.index not in lost and m.state is not MachineState.LOST]
    if attempt.state in (AttemptState.SUBMITTED, AttemptState.ASSEMBLING):
        return _assemble(attempt, machines, alive, stop_reason)
    if attempt.state is AttemptState.RUNNING:
        return _drive(attempt, machines, alive, exits, stop_reason)
    if attempt.state is AttemptState.ENDING and all(m.state is MachineState.RELEASED for m in alive):
        return Move(to=AttemptState(attempt.outcome or "failed"), reason=attempt.reason)
    return None


def _assemble(
    attempt: Attempt, machines: Sequence[AttemptMachine], alive: Sequence[AttemptMachine], stop_reason: str | None
) -> Move | None:
    present = [m for m in alive if m.state is MachineState.PRESENT]
    if stop_reason is not None:
        return _end("stopped", stop_reason)
    if len(alive) < len(machines):
        return _end("lost", _gone(machines, alive) + " before all agents had said hello")
    if len(present) == len(machines):
        return Move(
            to=AttemptState.RUNNING,
            generation=1,
            phase=GenerationPhase.PREPARING,
            reason=f"all {len(machines)} agents are here",
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
) -> Move | None:
    generation = attempt.generation
    ended = all(m.ended >= generation for m in alive)
    if attempt.phase is GenerationPhase.STOPPING:
        return _end(attempt.outcome or "failed", attempt.reason, GenerationPhase.ENDED) if ended else None
    trouble = _trouble(machines, alive, exits, stop_reason)
    if attempt.phase is GenerationPhase.PREPARING:
        if trouble is not None:
            return _end(*trouble, GenerationPhase.ENDED)
        if all(m.prepared >= generation for m in alive):
            return Move(
                phase=GenerationPhase.RUNNING,
                store_address=machines[0].address,
                store_port=machines[0].store_port,
                reason="all machines are prepared",
            )
        return None
    if trouble is not None:
        outcome, reason = trouble
        return Move(phase=GenerationPhase.STOPPING, outcome=outcome, reason=reason)
    if ended:
        return _end("succeeded", "all ranks exited with 0", GenerationPhase.ENDED)
    return None


def _trouble(
    machines: Sequence[AttemptMachine],
    alive: Sequence[AttemptMachine],
    exits: Sequence[RankExit],
    stop_reason: str | None,
) -> tuple[str, str] | None:
    """Return (outcome, reason) when the generation cannot go on. The user's word comes before failures it may cause."""
    if stop_reason is not None:
        return "stopped", stop_reason
    failed = sorted((e for e in exits if e.exit_code != 0), key=lambda e: e.at_ns)
    if failed:
        return "failed", f"rank {failed[0].rank} {describe_exit(failed[0].exit_code)}"
    broken = next((m for m in alive if m.broken), None)
    if broken is not None:
        return "failed", f"machine {broken.index}: {broken.broken}"
    if len(alive) < len(machines):
        return "lost", _gone(machines, alive)
    return None


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
    return Move(to=AttemptState.ENDING, outcome=outcome, phase=phase, reason=reason)


def _gone(machines: Sequence[AttemptMachine], alive: Sequence[AttemptMachine]) -> str:
    here = {m.index for m in alive}
    gone = [str(m.index) for m in machines if m.index not in here]
    return (
        f"the agent of machine {gone[0]} died" if len(gone) == 1 else f"the agents of machines {', '.join(gone)} died"
    )


def desired_state(
    attempt: Attempt, *, grace_s: float, flush_interval_s: float, now_ns: int, stacks: int = 0
) -> Desired:
    """Return what every machine of an attempt shall be doing now."""
    phase, stop = Phase.WAIT, None
    if attempt.state is AttemptState.ENDING or attempt.state.is_terminal:
        phase = Phase.RELEASED
    elif attempt.state is AttemptState.RUNNING:
        phase = {
            GenerationPhase.PREPARING: Phase.PREPARE,
            GenerationPhase.RUNNING: Phase.RUN,
            GenerationPhase.STOPPING: Phase.STOP,
            GenerationPhase.ENDED: Phase.WAIT,
        }[attempt.phase]
    if phase is Phase.STOP:
        by_user = attempt.outcome == "stopped"
        stop = Stop(terminate=by_user, grace_s=grace_s if by_user else SETTLE_S)
    return Desired(
        version=attempt.version,
        generation=attempt.generation,
        phase=phase,
        store_address=attempt.store_address,
        store_port=attempt.store_port,
        stop=stop,
        flush_interval_s=flush_interval_s,
        stacks=stacks,
        now_ns=now_ns,
    )
