"""What calls return: plans, runs, experiments and artifacts, as text and, in notebooks, as tables."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from opengrid.client.api import Api
from opengrid.client.download import fetch, is_there, place_of
from opengrid.client.following import followed_blocks, log_blocks
from opengrid.sdk import html

if TYPE_CHECKING:
    from opengrid.client.documents import ArtifactRow, ExperimentRow, PlanDocument, RunDocument

#: States in which nothing happens any more.
ENDED = ("succeeded", "failed", "stopped")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What would run where."""

    machines: int
    instance_type: str
    nodes: int  #: equal shares of machines, what torch calls nodes
    gpus: int  #: of one experiment
    gpus_per_node: int
    cpus_per_node: int
    world_size: int  #: ranks of one experiment
    experiments: int
    price_per_hour: float  #: list price of one experiment's machines, in US dollars
    simulated: bool  #: CPU ranks stand in for GPUs
    python: str | None
    source: str  #: the code that runs, in one line
    reason: str

    @classmethod
    def of(cls, document: PlanDocument) -> Plan:
        """Return the plan that the server answered."""
        said = cast("dict[str, Any]", document)
        return cls(**{field.name: said[field.name] for field in fields(cls)})

    def _repr_html_(self) -> str:
        return html.pairs([(field.name.replace("_", " "), getattr(self, field.name)) for field in fields(self)])


class Experiment:
    """One experiment. What it says is as of the last look; `refresh()` looks again."""

    def __init__(self, api: Api, document: ExperimentRow) -> None:
        self._api, self._document = api, document

    @property
    def name(self) -> str:
        """`RUN-exp0`."""
        return self._document["experiment"]

    @property
    def status(self) -> str:
        """queued, building, pending, running, succeeded, failed or stopped; asked for anew until it has ended."""
        if self._document["state"] not in ENDED:
            self.refresh()
        return self._document["state"]

    @property
    def reason(self) -> str:
        """Why it waits or has ended; "" when there is nothing to say."""
        return self._document["reason"]

    @property
    def params(self) -> dict[str, object]:
        """The script's options, as values."""
        return self._document["params"]

    @property
    def document(self) -> ExperimentRow:
        """Everything that the server said; after `refresh()` as `grid status EXPERIMENT -o json` prints it."""
        return self._document

    @property
    def artifacts(self) -> list[Artifact]:
        """The files that it has made so far."""
        return [Artifact(self._api, self.name, row) for row in self._api.artifacts(self.name)]

    def refresh(self) -> Experiment:
        """Look again."""
        self._document = self._api.experiment(self.name)
        return self

    def wait(self, timeout_s: float | None = None) -> Experiment:
        """Block until it has ended; TimeoutError when that takes longer than `timeout_s`."""
        deadline = _deadline(timeout_s)
        for document in self._api.watch_run(self._document["run"], "ended", deadline=deadline):
            self._document = next(e for e in document["experiments"] if e["experiment"] == self.name)
            if self._document["state"] in ENDED:
                return self.refresh()
        raise TimeoutError(f"{self.name} has not ended within {timeout_s:g} s: it is {self._document['state']}")

    def logs(self, *, follow: bool = False, rank: int | None = None, tail: int | None = None) -> Iterator[str]:
        """Yield the lines that its ranks wrote, as they come when `follow`; of one rank, or all with their ranks."""
        query = {"rank": rank, "tail": tail, "prefix": "true" if rank is None else "false"}
        blocks = (
            followed_blocks(self._api, self.name, query, was_away=lambda: None)
            if follow
            else log_blocks(self._api, self.name, query)
        )
        return _lines(blocks)

    def stop(self) -> None:
        """Ask it to stop; what it made is kept."""
        self._api.stop("experiment", [self.name])

    def __repr__(self) -> str:
        return f"<Experiment {self.name}: {self._document['state']}>"

    def _repr_html_(self) -> str:
        document = self._document
        rows: list[tuple[str, object]] = [
            ("experiment", self.name),
            ("status", document["state"]),
            ("reason", document["reason"]),
            ("command", document["command"]),
            ("machines", f"{document['machines']} × {document['instance_type']}"),
            ("ranks", document["world_size"]),
            ("simulated", document["simulated"]),
        ]
        cause = document.get("root_cause")
        return html.pairs([*rows, *([("cause", cause["cause"])] if cause is not None else [])])


class Run:
    """A run and its experiments. What it says is as of the last look; `refresh()` looks again."""

    def __init__(self, api: Api, document: RunDocument) -> None:
        self._api, self._document = api, document

    @property
    def name(self) -> str:
        """Such as `calm-fox-7`."""
        return self._document["run"]

    @property
    def status(self) -> str:
        """Queued or running; then failed or stopped if an experiment is, else succeeded. Asked for anew until then."""
        if not self._has_ended:
            self.refresh()
        states = {experiment["state"] for experiment in self._document["experiments"]}
        if not states <= set(ENDED):
            return "running" if "running" in states else "queued"
        return next((state for state in ("failed", "stopped") if state in states), "succeeded")

    @property
    def experiments(self) -> list[Experiment]:
        """Its experiments, in the order of the sweep."""
        return [Experiment(self._api, document) for document in self._document["experiments"]]

    @property
    def artifacts(self) -> list[Artifact]:
        """The files that its experiments have made so far."""
        return [artifact for experiment in self.experiments for artifact in experiment.artifacts]

    def refresh(self) -> Run:
        """Look again."""
        self._document = self._api.run(self.name)
        return self

    def watch(self) -> Iterator[Run]:
        """Yield the run now and whenever it changes, until all experiments have ended."""
        for document in self._api.watch_run(self.name, "ended"):
            self._document = document
            yield self

    def wait(self, timeout_s: float | None = None) -> Run:
        """Block until all experiments have ended; TimeoutError when that takes longer than `timeout_s`."""
        for document in self._api.watch_run(self.name, "ended", deadline=_deadline(timeout_s)):
            self._document = document
        if not self._has_ended:
            raise TimeoutError(f"{self.name} has not ended within {timeout_s:g} s: it is {self.status}")
        return self

    def logs(self, *, follow: bool = False, rank: int | None = None, tail: int | None = None) -> Iterator[str]:
        """Yield the lines of its first experiment; see Experiment.logs."""
        return self.experiments[0].logs(follow=follow, rank=rank, tail=tail)

    def stop(self) -> None:
        """Ask all experiments to stop; what they made is kept."""
        self._api.stop("run", [self.name])

    def resume(self, *, only_failed: bool = False) -> Run:
        """Go on with what has failed or was stopped, from its newest checkpoint."""
        self._api.resume("run", [self.name], failed=only_failed)
        return self.refresh()

    def delete(self) -> None:
        """Remove it for good, with logs and artifacts; Conflict while an experiment has not ended."""
        self._api.delete("run", [self.name])

    @property
    def _has_ended(self) -> bool:
        return all(experiment["state"] in ENDED for experiment in self._document["experiments"])

    def __repr__(self) -> str:
        counts = html.counted(experiment["state"] for experiment in self._document["experiments"])
        return f"<Run {self.name}: {counts}>"

    def _repr_html_(self) -> str:
        return html.run_table(self._document)


class Artifact:
    """A file that an experiment made."""

    def __init__(self, api: Api, experiment: str, row: ArtifactRow) -> None:
        self._api, self.experiment, self._row = api, experiment, row

    @property
    def path(self) -> str:
        """Where the script wrote it, below its folder."""
        return self._row["path"]

    @property
    def node(self) -> int:
        """Which node wrote it."""
        return self._row["node"]

    @property
    def size(self) -> int:
        """Bytes."""
        return self._row["size"]

    def read(self) -> bytes:
        """Return its content; NotFound when a newer one has taken its place meanwhile."""
        return self._api.artifact(self.experiment, self._row)

    def download(self, folder: str | Path = ".") -> Path:
        """Bring it below a folder, at its path, verified; nothing is sent when it is there already."""
        place = place_of(Path(folder), self.path)
        if not is_there(place, self._row):
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = place.with_name(f".{place.name}.{self._row['sha256'][:8]}.partial")
            fetch(self._api, self.experiment, self._row, place, partial, lambda _: None)
        return place

    def __repr__(self) -> str:
        return f"<Artifact {self.path} of {self.experiment}, {self.size:,} bytes>"


def _deadline(timeout_s: float | None) -> float | None:
    return None if timeout_s is None else time.monotonic() + timeout_s


def _lines(blocks: Iterator[bytes]) -> Iterator[str]:
    rest = b""
    for block in blocks:
        *whole, rest = (rest + block).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
