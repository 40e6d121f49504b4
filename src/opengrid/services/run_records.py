"""run.json: everything that is needed to run an experiment again, kept when its first ranks start."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from opengrid.core.codec import to_json
from opengrid.core.errors import NotFound
from opengrid.core.records import Attempt, Experiment, Run
from opengrid.services.assignments import work_folder
from opengrid.services.sources import Sources
from opengrid.services.views import source_view, time_text
from opengrid.store.database import Database


class RunRecords:
    """One document per experiment beside its work folders; it goes with them when the experiment is deleted."""

    def __init__(
        self, database: Database, sources: Sources, *, work: Path, packages: Callable[[Run], list[str]]
    ) -> None:
        self._database, self._sources, self._work, self._packages = database, sources, work, packages

    def keep(self, attempt: Attempt) -> None:
        """Write the document of an attempt's experiment, unless it is there. Packages are those of this moment."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment_by_id(attempt.experiment_id)
            run = tx.runs.find_by_id(experiment.run_id)
        file = self._file(experiment)
        if file.exists():
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(".part")
        partial.write_text(json.dumps(self._document(run, experiment), indent=2, ensure_ascii=False) + "\n")
        os.replace(partial, file)

    def read(self, name: str) -> bytes:
        """Return the document of an experiment; NotFound when its ranks have not started yet."""
        with self._database.read() as tx:
            experiment = tx.runs.experiment(name)
        try:
            return self._file(experiment).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{name} has no run.json: its ranks have not started", hint="ask again later") from None

    def _file(self, experiment: Experiment) -> Path:
        return work_folder(self._work, experiment, 0).with_name("run.json")

    def _document(self, run: Run, experiment: Experiment) -> dict[str, object]:
        spec = run.spec
        patch = self._sources.patch(spec.source).read_text(errors="replace") if spec.source.patch is not None else None
        return {
            "experiment": experiment.name,
            "run": run.name,
            "user": run.user,
            "created_at": time_text(run.created_us),
            "command": spec.command,
            "program": to_json(spec.program),
            "arguments": list(experiment.arguments),
            "plan": run.plan.to_wire(),
            "source": to_json(source_view(spec.source)),
            "patch": patch,
            "python": run.plan.python,
            "packages": self._packages(run),
            "dependencies": to_json(spec.dependencies),
            "actions": to_json(spec.actions),
            "framework": spec.framework.value,
            "seed": spec.seed,
            "variables": sorted(spec.environment),  # names: values may be nobody's business
            "secrets": list(spec.secrets),
        }
