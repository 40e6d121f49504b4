"""Metrics: the first chart of a million points against TensorBoard's own, and a page of 10,000 experiments by a metric.

`python -m benchmarks.metrics`. The event file has 10 tags and was never read; TensorBoard starts anew each time, with
its fast loader, because that is how it is looked at.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import event_bytes
from benchmarks.support import median, print_rows, row, server_process
from opengrid.core.gang import Gang, Node, Plan
from opengrid.core.names import experiment_name
from opengrid.core.records.experiments import Experiment, ExperimentState, Run
from opengrid.core.records.scalars import EventFile, Scalar
from opengrid.core.spec import Program, ProgramKind, RunSpec, Source
from opengrid.store.database import Database

_REPEATS = int(os.environ.get("BENCH_REPEATS", "3"))
_TAGS = [f"train/m{number}" for number in range(10)]
_STEPS = 100_000
_EXPERIMENTS = 10_000
_CHART = {"tags": _TAGS, "pixels": 1000}


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        event_file = root / "events.out.tfevents.1"
        event_file.write_bytes(event_bytes.event_file(_TAGS, 1, _STEPS))
        home = root / "home"
        home.mkdir(mode=0o700)
        prepare(home)
        with server_process(home) as url:
            ask = _asker(url, (home / "token").read_text().strip())
            ours, theirs = [], []
            for number in range(_REPEATS):
                ours.append(_first_chart(ask, home, event_file, number))
                theirs.append(_tensorboard(root, event_file))
            pages = [_timed(lambda: ask("/api/v1/runs/wide/table?sort=metric:val_loss&limit=100")) for _ in range(21)]
    print_rows(
        [
            ("1,000,000 points in 10 tags, never read before", "grid s", "TensorBoard s", "ratio", "target", ""),
            row("first chart", median(ours), median(theirs), 0.6),
        ]
    )
    print()
    milliseconds = 1000 * median(pages[1:])
    verdict = "ok" if milliseconds <= 30 else "MISSED"
    print_rows(
        [
            (f"{_EXPERIMENTS:,} experiments, over HTTP", "ms", "target", ""),
            ("page of 100, ordered by a metric", f"{milliseconds:.1f}", "≤ 30", verdict),
        ]
    )


def prepare(home: Path) -> None:
    """Make a store with experiments whose event files are yet to come, and a run of 10,000 with metrics."""
    database = Database.open(f"sqlite:///{home / 'grid.db'}")
    chance = random.Random(0)
    run, cold = _run("wide", _EXPERIMENTS)
    cold_run, charts = _run("cold", _REPEATS)
    with database.transaction() as tx:
        tx.runs.create(cold_run, charts, 0)
        for one in charts:
            path = "runs/x/events.out.tfevents.1"
            tx.scalars.add_file(EventFile(experiment_id=one.id, number=1, attempt=1, generation=1, node=0, path=path))
        tx.runs.create(run, cold, 0)
        for one in cold:
            tx.scalars.save([_scalar(one, tag, chance) for tag in ("acc", "epoch", "lr", "train_loss", "val_loss")])
    database.close()


def _run(name: str, number: int) -> tuple[Run, list[Experiment]]:
    gang = Gang(nodes=(Node(index=0, machine=0, gpus=0, cpus=2, ranks=1),))
    spec = RunSpec(
        program=Program(kind=ProgramKind.SCRIPT, target="train.py", arguments=("--lr", "0.1")),
        source=Source(bundle="ab" * 32, root="/train"),
        shell={},
    )
    plan = Plan(
        gang=gang,
        instance_type="2_cpu_4gb",
        gpus=0,
        experiments=number,
        simulated=True,
        price_per_hour=0.0,
        python=None,
        source="",
        reason="",
    )
    run = Run(id=f"{name}1", name=name, user="nobody", spec=spec, plan=plan, created_us=0)
    first = Experiment(
        id="",
        run_id=run.id,
        index=0,
        name="",
        arguments=("--lr", "0.1", "--layers", "3"),
        typed=("--lr", "0.1", "--layers", "3"),
        params={"lr": 0.1, "layers": 3},
        state=ExperimentState.SUCCEEDED,
        version=0,
        reason="all ranks exited with 0",
        exit_code=0,
        root_cause=None,
        stop_requested=None,
        created_us=0,
        started_us=1,
        ended_us=2,
    )
    return run, [
        dataclasses.replace(first, id=f"{run.id}e{i}", index=i, name=experiment_name(name, i)) for i in range(number)
    ]


def _scalar(experiment: Experiment, tag: str, chance: random.Random) -> Scalar:
    value = chance.random()
    ends = {"last": value, "least": value / 2, "least_step": 7, "greatest": 1.0, "greatest_step": 1}
    about = {"experiment_id": experiment.id, "run_id": experiment.run_id, "tag": tag}
    return Scalar(**about, points=1000, first_step=0, last_step=999, last_us=0, **ends)


def _asker(url: str, token: str) -> Callable[..., Any]:
    def ask(path: str, document: object = None) -> Any:
        body = None if document is None else json.dumps(document).encode()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url + path, body, headers)) as answer:
            return json.loads(answer.read())

    return ask


def _timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _first_chart(ask: Callable[..., Any], home: Path, event_file: Path, number: int) -> float:
    """Return how long a chart takes whose event file has just come."""
    name = experiment_name("cold", number)
    there = home / "events" / f"cold1e{number}" / "1"
    there.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(event_file, there)
    answers: list[Any] = []
    seconds = _timed(lambda: answers.append(ask("/api/v1/scalars", {"experiments": [name], **_CHART})))
    (answer,) = answers
    assert [one["total"] for one in answer["series"]] == [_STEPS] * len(_TAGS), "the chart is not whole"
    return seconds


def _tensorboard(root: Path, event_file: Path) -> float:
    """Return how long TensorBoard takes from its start until it has answered with the last point of every tag."""
    logdir = root / "logdir"
    (logdir / "run").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(event_file, logdir / "run" / event_file.name)
    began = time.monotonic()
    board = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", f"--logdir={logdir}", "--port=0", "--load_fast=true"],
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert board.stderr is not None
        url = next(line for line in board.stderr if " at http://" in line).split(" at ")[1].split(" ")[0]
        left = set(_TAGS)
        while left:
            left -= {tag for tag in left if _is_whole(url, tag)}
        return time.monotonic() - began
    finally:
        board.kill()
        board.wait()


def _is_whole(url: str, tag: str) -> bool:
    query = urllib.parse.urlencode({"run": "run", "tag": tag})
    try:
        with urllib.request.urlopen(f"{url}data/plugin/scalars/scalars?{query}") as answer:
            points = json.loads(answer.read())
    except OSError:
        return False  # it knows nothing of the tag yet
    return bool(points) and points[-1][1] == _STEPS


if __name__ == "__main__":
    main()
