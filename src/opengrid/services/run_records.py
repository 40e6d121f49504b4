"""run.json: everything that is needed to run an experiment again, an artifact that the server itself makes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TookTooLong
from typing import cast

import structlog

from opengrid.core.codec import to_json
from opengrid.core.errors import GridError, NotFound
from opengrid.core.masking import Masks
from opengrid.core.records.clusters import LOCAL_CLUSTER
from opengrid.core.records.experiments import Experiment, Run
from opengrid.services.artifacts import Artifacts
from opengrid.services.attempts import known_attempt
from opengrid.services.differences import Differences, unsigned
from opengrid.services.views import source_view, time_text
from opengrid.store.database import Database

log = structlog.get_logger(__name__)

#: A longer difference to the commit is told by its digest: a sweep of a thousand would keep it a thousand times.
_LONGEST_PATCH = 1 << 20

#: The controller, which has others to look after, waits so long for documents to be written.
_WAIT_S = 2.0


class RunRecords:
    """Keeps one document per experiment, of when its packages are known: at a start, or when its build has failed."""

    def __init__(
        self,
        database: Database,
        artifacts: Artifacts,
        differences: Differences,
        *,
        packages: Callable[[Run], list[str]],
        secrets_of: Callable[[str], Iterable[str]],
    ) -> None:
        self._database, self._artifacts, self._differences = database, artifacts, differences
        self._packages, self._secrets_of = packages, secrets_of
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="run records")
        self._last: Future[None] | None = None

    def keep(self, experiments: Sequence[Experiment]) -> None:
        """Write the documents of experiments of one run. Repeating is harmless; what goes wrong stops nobody.

        Waits for it, but not for long: the contents may go to a bucket that does not answer.
        """
        with self._database.read() as tx:
            run = tx.runs.find_by_id(experiments[0].run_id)
        # Asked now: an environment that has failed is forgotten soon, and would be made again for whoever asks later.
        try:
            packages = self._packages(run) if run.plan.cluster == LOCAL_CLUSTER else None
        except (GridError, OSError) as error:
            log.warning("no run.json", experiment=experiments[0].name, error=str(error))
            return
        self._write(run, experiments, packages)

    def packages_found(self, attempt_id: str, packages: Sequence[str]) -> None:
        """Write the document of an experiment anew, with what a cluster's machine has told that its ranks find."""
        with self._database.read() as tx:
            attempt = known_attempt(tx, attempt_id)
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            run = tx.runs.find_by_id(experiment.run_id)
        self._write(run, [experiment], list(packages))

    def close(self) -> None:
        """Let go of what is not written yet."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _write(self, run: Run, experiments: Sequence[Experiment], packages: list[str] | None) -> None:
        is_free = self._last is None or self._last.done()
        self._last = self._thread.submit(self._keep, run, experiments, packages)
        if is_free:
            with contextlib.suppress(TookTooLong):
                self._last.result(_WAIT_S)

    def _keep(self, run: Run, experiments: Sequence[Experiment], packages: list[str] | None) -> None:
        try:
            masks = Masks(self._secrets_of(run.user))
            common = self._of_run(run, packages)
            documents = {
                one.id: {"experiment": one.name, "arguments": list(one.arguments), **common} for one in experiments
            }
            self._artifacts.keep_records(
                {
                    id: (json.dumps(_hidden(document, masks.hide_text), indent=2) + "\n").encode()
                    for id, document in documents.items()
                }
            )
        except (GridError, OSError) as error:
            log.warning("no run.json", experiment=experiments[0].name, error=str(error))
        except Exception:  # the edge of a thread, for whose end the controller waits
            log.exception("no run.json", experiment=experiments[0].name)

    def _of_run(self, run: Run, packages: list[str] | None) -> dict[str, object]:
        spec = run.spec
        # Whoever knows a tree's digest can start a run of it.
        bundle = None if self._differences.private_files(run) else spec.source.bundle
        return {
            "run": run.name,
            "user": run.user,
            "created_at": time_text(run.created_us),
            "command": spec.command,
            "program": to_json(spec.program),
            "plan": run.plan.to_wire(),
            "source": {**to_json(source_view(spec.source)), "bundle": bundle},
            "patch": self._patch(run),
            "python": run.plan.python,
            "packages": packages,  # None: of other machines, one of which tells when it is prepared
            "dependencies": _hidden(to_json(spec.dependencies), unsigned),
            "actions": to_json(spec.actions),
            "framework": spec.framework.value,
            "seed": spec.seed,
            "variables": sorted(spec.environment),  # names: values may be nobody's business
            "secrets": list(spec.secrets),
        }

    def _patch(self, run: Run) -> str | None:
        try:
            return self._differences.told(run, most_bytes=_LONGEST_PATCH)
        except NotFound:
            return None


def _hidden(value: object, hide: Callable[[str], str]) -> object:
    """Return a JSON document with something hidden in all of its texts."""
    if isinstance(value, str):
        return hide(value)
    if isinstance(value, dict):
        return {key: _hidden(inner, hide) for key, inner in cast("dict[str, object]", value).items()}
    if isinstance(value, list):
        return [_hidden(inner, hide) for inner in cast("list[object]", value)]
    return value
