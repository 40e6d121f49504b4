"""Whether a sweep fails for one reason, so that running the rest of it is pointless. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from opengrid.core.records.experiments import Experiment, ExperimentState, RootCause

#: So many experiments must have ended, all failed alike, before the rest is given up.
FIRST = 3


def failing_alike(experiments: Sequence[Experiment]) -> str | None:
    """Return why the rest of a run is pointless, or None: the first to end all failed alike.

    Alike is the same kind of exception at the same place; without an exception, the same exit code.
    """
    ended = sorted((e for e in experiments if e.ended_us is not None), key=lambda e: (e.ended_us, e.index))[:FIRST]
    if len(ended) < FIRST or any(e.state is not ExperimentState.FAILED or e.root_cause is None for e in ended):
        return None
    causes = [e.root_cause for e in ended if e.root_cause is not None]
    if len({_kind(cause) for cause in causes}) > 1:
        return None
    return f"--fail_fast: the first {FIRST} experiments failed alike: {causes[0].summary}"


def _kind(cause: RootCause) -> tuple[object, ...]:
    exception = (cause.exception or "").partition(":")[0]
    return (exception, cause.frame) if exception else (cause.exit_code, cause.signal)
